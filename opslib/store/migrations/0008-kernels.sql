-- What a worker tells of its host's warm kernels: numbers by name, as the nursery counts them.
-- depends: 0007-break-glass

ALTER TABLE processes ADD COLUMN kernels jsonb;
