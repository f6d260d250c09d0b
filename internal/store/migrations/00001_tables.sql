-- +goose Up

-- One row an export. This row is the truth about it.
create table bulkexport.jobs (
    id                  uuid primary key,
    project             text not null,
    kind                text not null check (kind in ('conversations', 'documents')),
    from_at             timestamptz,
    to_at               timestamptz,
    allow_skipped       boolean not null default false,
    requested_by        text not null,
    notify              text[] not null default '{}',
    created_at          timestamptz not null default now(),

    state               text not null default 'queued'
                        check (state in ('queued', 'running', 'succeeded', 'failed', 'canceled', 'expired')),
    phase               text not null default 'waiting'
                        check (phase in ('waiting', 'retrying', 'planning', 'streaming', 'completing', 'verifying')),
    lane                text not null check (lane in ('large', 'small')),
    version             bigint not null default 1,

    -- Three counters that must not be confused: the fence, the budget, the doorbell.
    attempt             integer not null default 0,
    failures            integer not null default 0,
    dispatch            integer not null default 0,
    dispatched_at       timestamptz,
    next_at             timestamptz,

    worker              text,
    lease_until         timestamptz,
    checkpointed        boolean not null default false, -- since the claim
    started_at          timestamptz,
    finished_at         timestamptz,
    cancel_requested_at timestamptz,
    canceled_by         text,

    rows_done           bigint not null default 0,
    rows_total          bigint,
    bytes_raw           bigint not null default 0,
    bytes_stored        bigint not null default 0,
    rows_per_second     double precision not null default 0,
    progress_at         timestamptz,

    upload_nonce        text,
    upload_key          text,
    upload_id           text,

    filename            text,
    sha256              text,
    sha256_raw          text,
    contexts_cut        bigint not null default 0,
    expires_at          timestamptz,
    data_deleted_at     timestamptz,

    error_code          text,
    error_message       text,
    error_retryable     boolean,

    check (state <> 'running' or (worker is not null and lease_until is not null)),
    check (state <> 'succeeded' or (sha256 is not null and upload_key is not null)),
    check (state <> 'failed' or error_code is not null)
);

-- The list of a project, and the search for an identical job.
create index jobs_project on bulkexport.jobs (project, id desc);
-- What the dispatcher looks at, however many jobs lie in the past.
create index jobs_open on bulkexport.jobs (state, lane, project) where state in ('queued', 'running');
-- When a project was last served, for turns.
create index jobs_served on bulkexport.jobs (lane, project, dispatched_at);

-- Who asked with which Idempotency-Key; kept for a day.
create table bulkexport.idempotency_keys (
    project      text not null,
    person       text not null,
    key          text not null,
    request_hash bytea not null,
    job_id       uuid not null references bulkexport.jobs on delete cascade,
    created_at   timestamptz not null default now(),
    primary key (project, person, key)
);

-- One row a claim.
create table bulkexport.attempts (
    job_id        uuid not null references bulkexport.jobs on delete cascade,
    attempt       integer not null,
    worker        text not null,
    started_at    timestamptz not null default now(),
    ended_at      timestamptz,
    outcome       text check (outcome in ('succeeded', 'failed', 'canceled', 'retried', 'drained', 'lost')),
    rows_done     bigint,
    bytes_raw     bigint,
    error_code    text,
    error_message text,
    primary key (job_id, attempt)
);

-- One row a cut. Each holds the parts since the one before it, so that what a
-- checkpoint writes does not grow with the file.
create table bulkexport.checkpoints (
    job_id     uuid not null references bulkexport.jobs on delete cascade,
    nonce      text not null,
    number     integer not null,
    attempt    integer not null,
    final      boolean not null,
    cut        jsonb not null,
    created_at timestamptz not null default now(),
    primary key (job_id, nonce, number)
);

create table bulkexport.workers (
    id          text primary key,
    large_slots integer not null,
    small_slots integer not null,
    seen_at     timestamptz not null
);

-- Mails to be sent: one a person and outcome.
create table bulkexport.outbox (
    id         bigint generated always as identity primary key,
    job_id     uuid not null references bulkexport.jobs on delete cascade,
    recipient  text not null,
    outcome    text not null check (outcome in ('ready', 'failed', 'canceled')),
    created_at timestamptz not null default now(),
    due_at     timestamptz not null default now(),
    sent_at    timestamptz,
    tries      integer not null default 0,
    last_error text,
    unique (job_id, recipient, outcome)
);
create index outbox_due on bulkexport.outbox (due_at) where sent_at is null;

-- Who did what. Outlives the jobs, hence no reference.
create table bulkexport.audit (
    id      bigint generated always as identity primary key,
    at      timestamptz not null default now(),
    actor   text not null,
    action  text not null,
    project text not null,
    job_id  uuid,
    remote  text not null default ''
);
create index audit_project on bulkexport.audit (project, id desc);
