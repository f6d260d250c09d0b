-- +goose Up

-- Browsers that are signed in, or about to sign in.
create table bulkexport.sessions (
    id         text primary key, -- SHA-256 of what the cookie holds
    data       bytea not null,
    subject    text, -- who, in the provider's words; null before the sign-in
    sid        text, -- the provider's session that it hangs on, where it tells
    expires_at timestamptz not null
);
create index sessions_subject on bulkexport.sessions (subject) where subject is not null;
create index sessions_sid on bulkexport.sessions (sid) where sid is not null;
create index sessions_expires on bulkexport.sessions (expires_at);
