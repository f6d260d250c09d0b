// Package sim runs the service's real coordination (jobs.Runner, jobs.Session,
// jobs.Dispatcher and the worker's loops, unchanged) in a world of its own:
// virtual time, several workers, and stand-ins of the database, the queue and
// the object store that fail in every way that a seed draws. It consists of
// tests alone; docs/simulation.md tells what it shows and what it cannot.
package sim
