// Package deploy holds what an operator runs or puts beside the programs, for
// those who run it by program: the development stack and the tests.
package deploy

import _ "embed"

// SourceGrants gives the role bulkexport_source the least that the exporter
// needs of the platform's tables, and no more. It may be run again.
//
//go:embed source-grants.sql
var SourceGrants string

// Nginx is the server block that docs/behind-a-proxy.md tells of, with
// ${LISTEN}, ${UPSTREAM} and ${BASE} to be filled in.
//
//go:embed nginx.conf
var Nginx string

// Alerts are Prometheus's rules, each with its section in docs/runbook.md.
//
//go:embed prometheus/bulkexport.rules.yml
var Alerts string

// Dashboard is Grafana's.
//
//go:embed grafana/bulkexport.json
var Dashboard []byte
