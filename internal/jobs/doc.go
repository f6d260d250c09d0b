// Package jobs is the domain of Bulk Export: what an export is, who may ask for
// one, and how a job travels from the request to a published file.
//
// It holds all coordination (Service, Dispatcher, Runner) and the ports through
// which that coordination reaches the world. It imports the standard library
// only; clock, randomness and ids come from outside, so that a simulator can
// run it unchanged.
//
// The job row is the truth. Everything else (a task in Redis, a goroutine in a
// worker, an object in the bucket) is a consequence of it that may be lost.
package jobs
