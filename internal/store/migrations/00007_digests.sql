-- +goose Up

-- The letter in whose mail this one goes, while it does.
alter table bulkexport.outbox add column carrier bigint;

-- Letters from before anybody sent mails are as old as they are.
update bulkexport.outbox set asked_at = created_at where edition = 1;
