-- Approvals that passed over the usual rules, which none may without a reason.
-- depends: 0006-tallies

ALTER TABLE decisions ADD COLUMN break_glass boolean NOT NULL DEFAULT false;
ALTER TABLE decisions ADD CONSTRAINT glass_broken_for_a_reason
    CHECK (NOT break_glass OR (decision = 'approve' AND reason !~ '^[[:space:][:punct:]]*$'));
