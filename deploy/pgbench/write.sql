-- A conversation begins, or goes on.
insert into "llm-convo-monitor" (convo_id, course_name, user_email, convo)
values ('load-' || :client_id || '-' || (random() * 200)::int, 'load', 'load@example.edu', json_build_object('messages', repeat('x', 2000)))
on conflict (convo_id) do update set convo = excluded.convo;
