-- +goose Up

-- When rows, bytes or phase of a running export last changed: progress_at is
-- written with every beat.
alter table bulkexport.jobs add column moved_at timestamptz;
