-- +goose Up

-- What those who watch over the service count: mails of the last day, and what
-- the sweeper's last look for orphans came to.
create index outbox_asked on bulkexport.outbox (asked_at) where state in ('refused', 'unsure', 'given_up');
alter table bulkexport.installation
    add column orphans_found integer not null default 0,
    add column orphans_left  integer not null default 0;

-- The W3C traceparent of the request, where requests are traced: attempts and
-- mails join its trace.
alter table bulkexport.jobs add column trace text;
