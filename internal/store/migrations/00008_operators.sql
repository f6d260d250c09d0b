-- +goose Up

-- What operators said about who is next. An empty project is the whole queue.
alter table bulkexport.jobs add column priority integer not null default 0;
create table bulkexport.pauses (
    project   text primary key,
    paused_by text not null,
    since     timestamptz not null default now()
);

-- When an attempt was first seen at what.
create table bulkexport.phases (
    job_id  uuid not null references bulkexport.jobs on delete cascade,
    attempt integer not null,
    phase   text not null,
    at      timestamptz not null default now(),
    primary key (job_id, attempt, phase)
);

-- The last look of the sweeper, and the last one that removed something.
alter table bulkexport.installation
    add column swept_at timestamptz,
    add column swept jsonb;

-- What operators search for.
create index jobs_ended on bulkexport.jobs (finished_at) where finished_at is not null;
create index jobs_state on bulkexport.jobs (state, id desc);
create index jobs_error on bulkexport.jobs (error_code, id desc) where error_code is not null;
create index attempts_ended on bulkexport.attempts (ended_at) where error_code is not null or outcome = 'lost';
