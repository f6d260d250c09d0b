#!/bin/bash
# Measures what an export does to others who use the platform's database: the
# latency of a constant load of short statements, without an export and beside
# one, in turns. "make bench-source" runs it on a throw-away stack.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$here/../.." && pwd)/.data/bin
PATH=$PATH:$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -1)

bytes=${BYTES:-1000000000} # of conversations; the exported project has some half of them
rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-15}
rate=${RATE:-200} # statements a second, over four clients

# How the worker runs beside the load, and the name of that. A nice worker only
# gets the time that Postgres leaves: nearly as if it had a machine of its own.
modes=(
	"none|"
	"export|nice -n 0"
	"export, worker elsewhere|nice -n 19"
	"the same, SOURCE_CONNS=1|env SOURCE_CONNS=1 nice -n 19"
	"the same, SOURCE_READ_MBPS=25|env SOURCE_READ_MBPS=25 nice -n 19"
)

work=$(mktemp -d)
children=()
finish() {
	((${#children[@]} == 0)) || kill "${children[@]}" 2>/dev/null || true
	wait
	rm -rf "$work"
}
trap finish EXIT

sql() { psql -qAtX -v ON_ERROR_STOP=1 "$@"; }

# until_ok repeats a command until it succeeds, for half a minute at most.
until_ok() {
	local try
	for ((try = 0; try < 300; try++)); do
		"$@" && return
		sleep 0.1
	done
	echo "did not come to pass: $*; the log of the programs ends:" >&2
	tail -20 "$work/programs.log" >&2
	return 1
}

admin=${DEVSTACK_ADMIN_DATABASE_URL%/*}
sql "$admin/postgres" -c 'create database bench'
"$bin/devstack" fill -database "$admin/bench" -bytes "$bytes" -documents 0 >&2
sql "$admin/bench" -f "$here/../source-grants.sql"
export SOURCE_DATABASE_URL=${SOURCE_DATABASE_URL%/*}/bench LOG_LEVEL=WARN
rows=$(sql "$admin/bench" -c 'select max(id) from "llm-convo-monitor"')
exec 3>"$work/programs.log"

while # a port that nobody listens on
	export HTTP_ADDR=127.0.0.1:$((20000 + RANDOM % 10000)) METRICS_ADDR=127.0.0.1:0
	(exec 4<>"/dev/tcp/${HTTP_ADDR/://}") 2>/dev/null
do :; done
export PUBLIC_URL=http://$HTTP_ADDR
"$bin/api" >&3 2>&3 &
children+=($!)
until_ok curl -sfo "$work/ready" "$PUBLIC_URL/readyz"

ask() {
	curl --fail-with-body -sSo "$work/answer" "$PUBLIC_URL/v1/projects/$DEMO_PROJECT/exports" -H "Authorization: Bearer $API_KEY_OWNER" \
		-H 'Content-Type: application/json' -d '{"kind":"conversations","fresh":true}'
}

# running: an export has not come to its end.
running() {
	[[ $(sql "$DATABASE_URL" -c "select count(*) from bulkexport.jobs where state = 'running'") != 0 ]]
}

# load prints the latencies of one turn in microseconds, in order. They count
# from when a statement was due.
load() {
	rm -f "$work"/log.*
	pgbench -n -c 4 -j 2 -R "$rate" -T "$seconds" -M prepared -D "rows=$rows" -l --log-prefix="$work/log" \
		-f "$here/read.sql@4" -f "$here/write.sql@1" "$admin/bench" >"$work/pgbench" 2>&1 || { cat "$work/pgbench" >&2; return 1; }
	cut -d' ' -f3 "$work"/log.* | sort -n
}

# turn measures one mode and notes its percentiles.
turn() {
	local mode=$1 name=${modes[$1]%%|*} how=${modes[$1]#*|} worker=
	if [[ -n $how ]]; then
		# shellcheck disable=SC2086
		$how "$bin/worker" >&3 2>&3 &
		worker=$!
		children+=("$worker")
		until_ok running
	fi
	load >"$work/latencies"
	if [[ -n $worker ]]; then
		until_ok running || { echo "no export was running any more" >&2; exit 1; }
		kill "$worker"
		wait "$worker" || true
		unset 'children[-1]'
	fi
	awk -v name="$name" '{ v[NR] = $1 } END { printf "%d\t%d\t%d\t%s\n", v[int(NR * .5) + 1], v[int(NR * .99) + 1], NR, name }' \
		"$work/latencies" | tee -a "$work/turns.$mode" >&2
}

# Enough that one follows upon the other; what is left ends with the stack.
for ((i = 0; i < 90; i++)); do ask || { cat "$work/answer" "$work/programs.log" >&2; exit 1; }; done
echo "p50 us	p99 us	statements	beside" >&2
for ((round = 0; round < rounds; round++)); do
	for mode in "${!modes[@]}"; do turn "$mode"; done
done

median() { sort -n | awk '{ v[NR] = $1 } END { printf "%.2f", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2000 }'; }
echo
echo "| beside | p50 | p99 |"
echo "| --- | --- | --- |"
for mode in "${!modes[@]}"; do
	echo "| ${modes[$mode]%%|*} | $(cut -f1 "$work/turns.$mode" | median) ms | $(cut -f2 "$work/turns.$mode" | median) ms |"
done
