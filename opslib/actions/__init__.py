"""Plans, policy, approval, applier, and the actions: what changes a platform, and how it is kept from surprising."""
