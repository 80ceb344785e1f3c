"""Parts of the crypto platform as processes of their own, which talk through its Redis."""
