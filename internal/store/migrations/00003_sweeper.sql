-- +goose Up

-- Which installation this is, for the owner's mark in the object store.
create table bulkexport.installation (
    one        boolean primary key default true check (one),
    id         uuid not null default gen_random_uuid(),
    orphans_at timestamptz -- when they were last looked for
);
insert into bulkexport.installation default values;

-- Projects that the platform does not have any more.
create table bulkexport.absent_projects (
    project text primary key,
    since   timestamptz not null default now()
);

-- Whose retention is over, and whose data is to go.
create index jobs_overdue on bulkexport.jobs (expires_at) where state = 'succeeded';
create index jobs_doomed on bulkexport.jobs (id)
    where state in ('failed', 'canceled', 'expired') and upload_key is not null and data_deleted_at is null;
