-- People, their roles and the digests of their tokens.

-- name: add
-- A person, or one who was removed and comes back with a new token.
INSERT INTO people (name, role, platform, token_sha256) VALUES (%(name)s, %(role)s, %(platform)s, %(token_sha256)s)
ON CONFLICT (name) DO UPDATE
    SET role = excluded.role, platform = excluded.platform, token_sha256 = excluded.token_sha256,
        created_at = now(), removed_at = NULL
    WHERE people.removed_at IS NOT NULL OR %(replace)s
RETURNING name

-- name: all
-- Everybody who may do something.
SELECT name, role, platform, created_at FROM people WHERE removed_at IS NULL ORDER BY name

-- name: remove
-- From now on this person's token opens nothing.
UPDATE people SET removed_at = now() WHERE name = %(name)s AND removed_at IS NULL RETURNING name

-- name: by_token
-- Whose token has this digest.
SELECT name, role, platform FROM people WHERE token_sha256 = %(token_sha256)s AND removed_at IS NULL
