package web

import (
	"fmt"
	"net/url"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// What the operators' pages say in words that are not a template's.

// stateChoice is a state to search for.
type stateChoice struct {
	Value jobs.State
	Name  string
}

var stateChoices = func() (all []stateChoice) {
	for _, s := range []jobs.State{jobs.Queued, jobs.Running, "canceling", jobs.Succeeded, jobs.Failed, jobs.Canceled, jobs.Expired} {
		all = append(all, stateChoice{s, stateWords[s]})
	}
	return all
}()

// stepWords name the stretches of an export's time.
var stepWords = map[string]string{
	"waiting": "Waiting", "retrying": "Waiting before another try", string(jobs.Planning): "Counting the rows",
	string(jobs.Streaming):  "Reading, compressing and uploading",
	string(jobs.Completing): "Putting the file together", string(jobs.Verifying): "Checking the file",
}

// whyWords say what an export waits for.
var whyWords = map[jobs.Why]string{
	jobs.WhyPaused: "paused by an operator", jobs.WhyRung: "a worker was told and takes it now",
	jobs.WhyNoWorker: "no worker is there", jobs.WhyLane: "all slots of the lane are busy", jobs.WhyNext: "starts with the next pass, within 2 seconds",
}

// opsDone say what an action that led here did.
var opsDone = map[string]string{
	"cancel": "The export is being stopped.", "retry": "It is tried again now.", "ahead": "It goes before all others now.",
	"pause": "Nothing starts until you let it go on. What runs goes on.", "resume": "Exports start again.", "task": "Done.",
}

// jobQuestions are asked before something is done to an export.
var jobQuestions = map[string]opsQuestion{
	"cancel": {Title: "Stop this export?", Do: "Stop it", Danger: true,
		Means: []string{"It stops for everybody who waits for it. They get a mail that names you.", "What it has written is deleted. It can be run again."}},
	"retry": {Title: "Run it again?", Do: "Run it again",
		Means: []string{"A new export of the same rows is queued for the person who asked for this one; that person gets the mails.",
			"An identical export that waits or has just begun is used instead.", "The audit says that you did it."}},
	"ahead": {Title: "Move it ahead of all others?", Do: "Move it ahead",
		Means: []string{"It starts as soon as its lane has a free slot, before all that wait there.",
			"Its project's own slots still bound it: what runs of that project is not stopped."}},
}

var hastenQuestion = opsQuestion{Title: "Try it again now?", Do: "Try it now",
	Means: []string{"The pause before the next try ends. The failures so far still count: five in a row end the export."}}

var pauseQuestions = map[string]opsQuestion{
	"pause": {Title: "Pause these exports?", Do: "Pause them", Danger: true,
		Means: []string{"Nothing of them starts until an operator lets them go on. What runs goes on to its end.",
			"People can still ask for exports: they wait, and their pages say that you have paused them."}},
	"resume": {Title: "Let these exports go on?", Do: "Let them go on",
		Means: []string{"What waits starts in its turn, within two seconds of a slot being free."}},
}

var queueQuestions = map[string]opsQuestion{
	"pause": {Title: "Pause this queue on Redis?", Do: "Pause the queue", Danger: true,
		Means: []string{"Workers take no task from it. Exports that are told to start meanwhile are told again every ten seconds, so that tasks pile up.",
			"To keep exports from starting, pause them on the operators' first page instead."}},
	"resume": {Title: "Let this queue go on?", Do: "Let the queue go on",
		Means: []string{"Workers take its tasks again. Old ones find nothing to do."}},
}

var taskQuestions = map[string]opsQuestion{
	"run": {Title: "Run it now?", Do: "Run now",
		Means: []string{"The task becomes pending. It is only a doorbell: a worker starts the export if it still waits at exactly that number, and else drops the task."}},
	"archive": {Title: "Archive it?", Do: "Archive",
		Means: []string{"No worker takes it any more. The export is told to start again by a new task within ten seconds, if it still waits."}},
	"delete": {Title: "Delete it?", Do: "Delete", Danger: true,
		Means: []string{"The task is gone for good. The export is not: it is told to start again by a new task within ten seconds, if it still waits."}},
	"cancel": {Title: "Cancel the processing?", Do: "Cancel processing", Danger: true,
		Means: []string{"The worker is told to end the task. An export that runs does not listen to its doorbell and goes on: to stop it, cancel the export itself."}},
}

// taskDoes and allDoes are what a task, and all tasks, of a state allow.
var (
	taskDoes = map[string]string{"pending": "archive delete", "active": "cancel", "scheduled": "run archive delete", "retry": "run archive delete", "archived": "run delete", "completed": "delete"}
	allDoes  = map[string]string{"pending": "archive delete", "scheduled": "run archive delete", "retry": "run archive delete", "archived": "run delete", "completed": "delete"}
)

// told is a finding in words, with where to look and what to do.
func told(f jobs.Finding) finding {
	out := finding{Kind: f.Kind, Runbook: "docs/runbook.md#" + string(f.Kind)}
	w := findingWords[f.Kind]
	out.Title, out.Means, out.Do = w.title, w.means, w.do
	if w.count {
		out.Title = plural(f.Count, w.title, w.titles)
	}
	if f.Job != "" {
		out.Link, out.LinkText = "/ops/jobs/"+f.Job, "Look at one of them"
		if f.Count == 1 {
			out.LinkText = "Look at it"
		}
	}
	switch f.Kind {
	case jobs.WorkerSilent:
		out.Title = "The worker " + f.Worker + " does not answer"
		out.LinkText = "Look at what it ran"
	case jobs.WaitingTooLong:
		out.Title += fmt.Sprintf(" in the %s lane for more than %s", f.Lane, inWords(jobs.OperatorLimits.Wait[f.Lane]))
	case jobs.ExportsFailed:
		out.Title += " since yesterday: " + f.Code
		out.Means, out.Do = failureWords[f.Code], helps[f.Code]
		out.Link, out.LinkText = "/ops/jobs?"+url.Values{"state": {"failed"}, "error": {f.Code}}.Encode(), "See them"
		out.Runbook = "docs/runbook.md#" + f.Code
	case jobs.RedisMemory:
		out.Title = fmt.Sprintf("Redis uses %d %% of its memory", f.Percent)
	case jobs.MailsStuck:
		if f.Code != "" {
			out.Title += ", the last for " + f.Code
		}
	case jobs.Paused:
		out.Notice = true
		out.Title = "All exports are paused by " + f.Who
		if f.Project != "" {
			out.Title = "The exports of " + f.Project + " are paused by " + f.Who
		}
		out.Link, out.LinkText = "/ops/pauses/resume?"+url.Values{"project": {f.Project}}.Encode(), "Let them go on"
	}
	return out
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

var findingWords = map[jobs.FindingKind]struct {
	count         bool
	title, titles string
	means, do     string
}{
	jobs.NoWorker: {title: "No worker is there", means: "Nothing starts, and nothing that was lost is taken over, until one is.",
		do: "Start a worker. If one runs, look in its log why it does not reach the service's database."},
	jobs.WorkerSilent: {means: "It was last seen more than 15 seconds ago while it had an export. Another worker takes that over and goes on from the last checkpoint.",
		do: "Look whether its process still runs, is stopped or swaps, and whether it reaches the database. Restart it; nothing is lost by that."},
	jobs.NoProgress: {count: true, title: "export runs without progress", titles: "exports run without progress",
		means: "No row came for a minute, or its lease is over and nobody has taken it back. After five minutes without any it goes to another worker.",
		do:    "Look at its worker below: if it is silent, restart it; if none is there, start one. Else look what the platform's database and the object store do."},
	jobs.WaitingTooLong: {count: true, title: "export has waited", titles: "exports have waited",
		means: "It could start, is not paused and has no back-off.",
		do:    "See below what it waits for. If all slots are busy for long, start more workers; if one project has them all, that is its turn."},
	jobs.RetryStorm: {count: true, title: "export has failed three times in a row", titles: "exports have failed three times in a row",
		means: "Each try met an error that may pass. After five in a row the export fails.",
		do:    "Its page has the error of each try. Mend what it names; then try again at once from there."},
	jobs.StoreFull: {count: true, title: "try of the last hour was refused: the object store has no room", titles: "tries of the last hour were refused: the object store has no room",
		means: "No export can be written until there is room. Each is tried five times, over some 13 minutes.",
		do:    "Raise the bucket's quota or delete what is not needed; what the next clean-up frees stands below. Pause all exports until then."},
	jobs.RedisDown: {title: "The queue's Redis does not answer", means: "What runs goes on. Nothing new starts; requests are taken and wait.",
		do: "Bring Redis back at REDIS_URL. Nothing needs to be repaired after that: exports start within 12 seconds."},
	jobs.RedisMemory: {means: "With its memory full no export can be told to start.",
		do: "The queue needs a few MB: look what else is in that Redis, or raise its maxmemory. Its policy must be noeviction."},
	jobs.ExportsFailed: {count: true, title: "export has failed", titles: "exports have failed"},
	jobs.MailsStuck: {count: true, title: "mail was not delivered", titles: "mails were not delivered",
		means: "Refused by the mail server, never confirmed by it, given up, or due for more than an hour.",
		do:    "Look at SMTP_URL and the mail server's log. From an export's own page its people can send a mail once more. Files are ready regardless."},
	jobs.NoCleanUp: {title: "Nothing was cleaned up for 10 minutes", means: "Files whose time is over stay, and use room.",
		do: "A worker does it every minute. Look in the workers' logs for “sweep failed”."},
	jobs.Paused: {means: "What runs goes on; nothing of it starts.", do: "Let it go on when the reason is gone."},
}

// failureWords say what a failure means to who operates the service.
var failureWords = map[string]string{
	jobs.CodeWorkerLost:     "Five workers in a row were lost over it with no progress between.",
	jobs.CodeSource:         "The platform's database did not answer, five times in a row.",
	jobs.CodeStore:          "The object store did not answer as it should, five times in a row.",
	jobs.CodeStoreFull:      "The object store has no room left.",
	jobs.CodeDatabase:       "The service's own database did not answer, five times in a row.",
	jobs.CodeInternal:       "An error inside this service; the worker's log has it under the export's number.",
	jobs.CodeRefused:        "The platform's database refused a statement: a table or column is not there, or the role may not read it.",
	jobs.CodeStoreDenied:    "The object store refused this service's credentials, or what it may do with them.",
	jobs.CodeTooManyBadRows: "More than one row in a hundred cannot be read.",
	jobs.CodeInconsistent:   "The database returned other rows than it had counted, again and again.",
	jobs.CodeTooLarge:       "The file would be larger than the object store takes.",
}
