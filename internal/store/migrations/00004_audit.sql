-- +goose Up

-- How often a file was given another retention.
alter table bulkexport.jobs add column extensions integer not null default 0;

-- What was refused, or which file was fetched.
alter table bulkexport.audit add column detail text not null default '';
create index audit_at on bulkexport.audit (at);

-- Lines are added, and go when they are old. Nothing else happens to them, not
-- even by mistake.
-- +goose StatementBegin
create function bulkexport.audit_guard() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' and old.at < now() - interval '30 days' then
        return old;
    end if;
    raise exception 'the audit is append-only' using errcode = 'restrict_violation';
end
$$;
-- +goose StatementEnd
create trigger audit_rows before update or delete on bulkexport.audit
    for each row execute function bulkexport.audit_guard();
create trigger audit_truncate before truncate on bulkexport.audit
    for each statement execute function bulkexport.audit_guard();

-- The latest exports of all projects, for guesses about the next one.
create index jobs_finished on bulkexport.jobs (kind, finished_at desc) where sha256 is not null;
