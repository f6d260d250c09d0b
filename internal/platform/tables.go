package platform

import (
	"github.com/bulkexport/bulkexport/internal/jobs"
)

// table is how one kind lies in the platform's database.
type table struct {
	name  string // quoted where need be; the row is called t
	size  string // stored bytes of a row's large value, without reading it
	items string // in the order of jobs.Kind.Columns
	// sample is items for a reader: all as text, long text cut to $6 characters
	// and the large value, which is the last, to $7; one that takes more than $8
	// bytes as stored is left where it is.
	sample string
	// fence lets a window's statements see nothing but its range of ids.
	fence bool
}

var tables = map[jobs.Kind]table{
	jobs.Conversations: {
		name:  `"llm-convo-monitor"`,
		size:  `pg_column_size(t.convo)`,
		items: `t.id, t.created_at, t.convo_id, t.course_name, t.user_email, t.convo`,
		sample: `t.id::text, ` + shownTime + `, left(t.convo_id, $6), left(t.course_name, $6), left(t.user_email, $6),
			case when pg_column_size(t.convo) > $8 then ` + tooLarge(`t.convo`) + ` else left(t.convo::text, $7) end`,
	},
	jobs.Documents: {
		name: `documents`,
		size: `pg_column_size(t.contexts)`,
		items: `t.id, t.created_at, t.course_name, t.s3_path, t.readable_filename, t.url, t.base_url,
			` + groups + `, t.contexts`,
		// Of the contexts people read the text; most of what follows are numbers.
		sample: `t.id::text, ` + shownTime + `, left(t.course_name, $6), left(t.s3_path, $6), left(t.readable_filename, $6),
			left(t.url, $6), left(t.base_url, $6), left(` + groups + `::text, $6),
			case when pg_column_size(t.contexts) > $8 then ` + tooLarge(`t.contexts`) + `
			else left(coalesce((t.contexts->0->>'text') || ' …', t.contexts::text), $7) end`,
	},
}

// groups are the names of a document's. The offset keeps the join a look-up by
// key: without statistics it would scan all groups for each document.
const groups = `(select coalesce(json_agg(g.name order by g.name collate "C"), '[]') from documents_doc_groups m,
	lateral (select name from doc_groups where id = m.doc_group_id offset 0) g where m.document_id = t.id)`

// shownTime is created_at as the file has it.
const shownTime = `case when isfinite(t.created_at) then
	to_char(t.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"') ||
	case when t.created_at at time zone 'UTC' < '0001-01-01' then ' BC' else '' end
	else t.created_at::text end`

// tooLarge stands for a value that is not shown.
func tooLarge(column string) string {
	return `'… (' || pg_size_pretty(pg_column_size(` + column + `)::bigint) || ' as stored)'`
}

// members is the condition for a row to belong to the export, with its values
// at $1 to $3. Rows without created_at are left out when a date is given.
const members = `t.course_name = $1
	and ($2::timestamptz is null or t.created_at >= $2) and ($3::timestamptz is null or t.created_at < $3)`

func (t table) planSQL() string {
	return `select t.id, ` + t.size + ` from ` + t.name + ` t where ` + members + ` order by t.id`
}

// restSQL is the plan of an attempt that goes on where another stopped, with
// its bounds at $4 and $5.
func (t table) restSQL() string {
	return `select t.id, ` + t.size + ` from ` + t.name + ` t where ` + members + ` and t.id > $4 and t.id <= $5 order by t.id`
}

// dense is how many ids may lie in a window for each row of the project for it
// to be read by ids alone.
const dense = 100

// in is the table as the statements of a window see it. Without statistics the
// planner takes any index for as good as the ids, and one on the project alone
// makes each window read the whole project. So windows that are full of the
// project's rows leave it no choice. In one that has few of them such an index
// is the better way, and costs little at worst.
func (t table) in(w jobs.Window) table {
	t.fence = w.To-w.After <= dense*w.Rows
	return t
}

// window is what the statements of a window read, with its bounds at $4 and $5.
// The ids are bounded on both sides: a LIMIT instead of the upper bound would
// make the planner sort the whole tail where it has no statistics. The dates
// stand in coalesce so that no index on them is taken: the plan made use of
// them already, and the window lies within them.
func (t table) window() string {
	const bounds, dated = `t.id > $4 and t.id <= $5`, ` t.course_name = $1
	and ($2::timestamptz is null or coalesce(t.created_at >= $2, false)) and ($3::timestamptz is null or coalesce(t.created_at < $3, false))`
	if t.fence {
		return `(select * from ` + t.name + ` t where ` + bounds + ` offset 0) t where` + dated
	}
	return t.name + ` t where` + dated + ` and ` + bounds
}

func (t table) windowSQL() string {
	return `select ` + t.items + ` from ` + t.window() + ` order by t.id`
}

// membershipSQL tells the time and how many transactions have changed the table
// and are still open. A replica knows nothing of the latter.
func (t table) membershipSQL() string {
	return `select now(), case when not pg_is_in_recovery() then (
		select count(distinct virtualtransaction) from pg_locks
		where relation = '` + t.name + `'::regclass and mode = 'RowExclusiveLock' and granted
		  and database = (select oid from pg_database where datname = current_database())) end`
}

// countSQL counts a window by another way than windowSQL reads it: without an
// order, so that a broken index is found out, and without large values.
func (t table) countSQL() string {
	return `select count(*) from ` + t.window()
}

// idsSQL names the rows of a window that holds one which cannot be read.
func (t table) idsSQL() string {
	return `select t.id from ` + t.window() + ` order by t.id`
}

// measureSQL counts the rows of an export and their stored bytes.
func (t table) measureSQL() string {
	return `select count(*), coalesce(sum(` + t.size + `), 0) from ` + t.name + ` t where ` + members
}

// spreadSQL names rows by where they stand among all of the export, from 0 for
// the first to 1 for the last: in one pass, which sorts ids alone. A LIMIT
// instead would walk the whole table for a project that has few rows.
func (t table) spreadSQL() string {
	return `select percentile_disc($4::float8[]) within group (order by t.id) from ` + t.name + ` t where ` + members
}

func (t table) sampleSQL() string {
	return `select ` + t.sample + ` from ` + t.window()
}

// estimateSQL gives the table's stored bytes, TOAST included, for each row that
// the planner believes in; the widths in the statistics are those of pointers.
func (t table) estimateSQL() string {
	return `select pg_table_size(c.oid) / greatest(c.reltuples, 1)::float8 from pg_class c where c.oid = '` + t.name + `'::regclass and c.reltuples > 0`
}

func (t table) explainSQL() string {
	return `explain (format json) select 1 from ` + t.name + ` t where ` + members
}
