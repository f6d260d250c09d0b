-- +goose Up

-- What became of a mail, and by what words it is told from others.
alter table bulkexport.outbox
    drop constraint outbox_outcome_check,
    add constraint outbox_outcome_check check (outcome in ('ready', 'failed', 'canceled', 'expiring', 'announced', 'exported')),
    add column state text not null default 'due' check (state in ('due', 'sent', 'dropped', 'refused', 'unsure', 'given_up')),
    add column unsure integer not null default 0, -- tries of which nobody knows how they ended
    add column edition integer not null default 1, -- rises when somebody wants it once more
    add column asked_at timestamptz not null default now();
drop index bulkexport.outbox_due;
create index outbox_due on bulkexport.outbox (due_at) where state = 'due';
create index outbox_exported on bulkexport.outbox (recipient) where outcome = 'exported';

-- What happened to one export, and whether anybody has fetched it.
create index audit_job on bulkexport.audit (job_id) where job_id is not null;
