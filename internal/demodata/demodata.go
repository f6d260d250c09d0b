// Package demodata fills the chat platform's own tables, roles and bucket with
// invented data that looks and weighs like production: for the development
// stack, for tests and for benchmarks.
//
// Everything comes from a seed. The same seed and the same volumes give the
// same rows, byte for byte.
package demodata

// The demo people. The owner and the admin have their roles in DemoProject,
// SparseProject and EmptyProject; the other two have none anywhere.
const (
	OwnerEmail    = "owner@example.edu"
	AdminEmail    = "admin@example.edu"
	OtherEmail    = "someone@example.edu"
	OperatorEmail = "operator@example.edu"
)

// Their API keys. They open nothing but demo data, and are marked so that
// nobody takes them for real ones: each begins with de300000.
const (
	OwnerKey    = "uc_de300000000000000000000000000001"
	AdminKey    = "uc_de300000000000000000000000000002"
	OtherKey    = "uc_de300000000000000000000000000003"
	InactiveKey = "uc_de300000000000000000000000000004" // was the owner's, and is revoked
)

// Projects with a part to play. The rows of all projects lie mixed in the
// order of ids.
const (
	DemoProject    = "cs-101-demo"
	SparseProject  = "sparse-seminar-demo" // one row in a hundred
	EmptyProject   = "empty-demo"          // no row at all
	ForeignProject = "biology-lab-demo"    // neither the owner nor the admin has a role
	OddProject     = "Курс физики 2024/25" // a name that needs escaping everywhere
	LibraryProject = "law-library-demo"    // owned by somebody else again
)

// project is a project and its people. Share is its part of the rows, in 1/1000.
type project struct {
	id                       int64
	name, description, owner string
	admins                   []string
	private, frozen          bool
	share                    uint64
}

// The spelling of some e-mails differs in case from the one the person signs in
// with: the platform never normalised them.
var projects = []project{
	{id: 1, name: DemoProject, description: "Introduction to computing", owner: OwnerEmail,
		admins: []string{"Admin@Example.EDU", "ta.one@example.edu"}, private: true, share: 550},
	{id: 2, name: SparseProject, description: "A seminar with few questions", owner: "Owner@Example.edu",
		admins: []string{AdminEmail}, share: 10},
	{id: 3, name: EmptyProject, description: "Made yesterday, not used yet", owner: OwnerEmail,
		admins: []string{AdminEmail}, private: true},
	{id: 4, name: ForeignProject, description: "Notes and protocols of a lab", owner: "lab.head@example.org",
		admins: []string{"Lab.Assistant@Example.org"}, private: true, share: 250},
	{id: 5, name: OddProject, description: "Механика и оптика", owner: "teacher@example.org", share: 90},
	{id: 6, name: LibraryProject, description: "", owner: "librarian@example.org",
		admins: []string{"second.librarian@example.org"}, frozen: true, share: 100},
}

// Volume says how much to make. Bytes, if positive, means as many rows as
// reach about so many bytes of JSON text; otherwise Rows counts.
type Volume struct{ Rows, Bytes int64 }

// Options say what Fill makes.
type Options struct {
	Seed          uint64
	Conversations Volume
	Documents     Volume
}

// Summary tells what Fill made.
type Summary struct {
	Conversations int64
	Documents     int64
	Bytes         int64            // JSON text of both
	Projects      map[string]int64 // conversations of each project
}
