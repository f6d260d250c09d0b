-- What a chat platform does most: one conversation by its id.
\set id random(1, :rows)
select convo from "llm-convo-monitor" where id = :id;
