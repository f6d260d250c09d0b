-- The role with which Bulk Export reads the platform's tables: the least it
-- needs. Run it in the platform's database as the owner of the tables:
--
--     psql "$PLATFORM_DATABASE_URL" -v ON_ERROR_STOP=1 -f source-grants.sql
--     psql "$PLATFORM_DATABASE_URL" -c '\password bulkexport_source'
--
-- It may be run again; it alters no table.

do $$
begin
    if not exists (select from pg_roles where rolname = 'bulkexport_source') then
        create role bulkexport_source login;
    end if;
    execute format('grant connect on database %I to bulkexport_source', current_database());
end
$$;

alter role bulkexport_source set default_transaction_read_only = on;
alter role bulkexport_source set statement_timeout = '10min';
alter role bulkexport_source set idle_in_transaction_session_timeout = '10min';

grant usage on schema public to bulkexport_source;
grant select on "llm-convo-monitor", documents, doc_groups, documents_doc_groups, projects to bulkexport_source;
-- Of the API keys only what tells whose a key is.
grant select (user_id, key, is_active, email) on api_keys to bulkexport_source;
