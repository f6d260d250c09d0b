-- +goose Up

-- What the reading of the windows found beside their rows.
alter table bulkexport.jobs
    add column skipped      bigint not null default 0,
    add column skipped_rows jsonb not null default '[]', -- the first of them
    add column deleted      bigint not null default 0,
    add column appeared     bigint not null default 0;
