package web

import (
	"net/http"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// What the pages say in words that are not a template's.

var kindWords = map[jobs.Kind]string{jobs.Conversations: "Conversations", jobs.Documents: "Documents"}

// stateWords name a job's state. A cancel that has not taken effect is one.
var stateWords = map[jobs.State]string{
	jobs.Queued: "Waiting", jobs.Running: "Running", "canceling": "Stopping",
	jobs.Succeeded: "Ready", jobs.Failed: "Failed", jobs.Canceled: "Canceled", jobs.Expired: "Deleted",
}

// phaseWords say what a job that is not over is doing.
var phaseWords = map[jobs.Phase]string{
	jobs.Waiting:    "Waiting for its turn",
	jobs.Retrying:   "Waiting before another try",
	jobs.Planning:   "Counting the rows",
	jobs.Streaming:  "Writing the file",
	jobs.Completing: "Putting the file together",
	jobs.Verifying:  "Checking the file",
}

// helps say what to do about a failure, by its code.
var helps = map[string]string{
	jobs.CodeWorkerLost:     "Run it again. If it is interrupted once more, tell whoever operates this service.",
	jobs.CodeSource:         "Wait some minutes, then run it again.",
	jobs.CodeStore:          "Wait some minutes, then run it again.",
	jobs.CodeDatabase:       "Wait some minutes, then run it again.",
	jobs.CodeInternal:       "Run it again. If it fails once more, tell whoever operates this service.",
	jobs.CodeRefused:        "Whoever operates this service must give it access to the platform's tables. Running it again before that does not help.",
	jobs.CodeStoreDenied:    "Whoever operates this service must look at its object store. Running it again before that does not help.",
	jobs.CodeStoreFull:      "Whoever operates this service must make room in its object store. Running it again before that does not help.",
	jobs.CodeTooManyBadRows: "Rows that are damaged in the platform's database cannot be exported. You can run it again without them: the file then says which are missing.",
	jobs.CodeInconsistent:   "The platform's data changed in a way that could not be followed. Run it again, best at a quiet time.",
	jobs.CodeTooLarge:       "Choose a shorter time span, and export the rest after it.",
}

// doneWords say what an action that led here did, while that is of interest.
var doneWords = map[string]struct {
	open  bool // while the export waits or runs
	words string
}{
	"started":  {true, "The export is under way."},
	"joined":   {true, "This export was already under way. You will be told when it is ready, too."},
	"canceled": {true, "The export is being stopped."},
	"extended": {false, "The file stays longer now."},
	"deleted":  {false, "The file is deleted."},
	"resent":   {false, "The mail is sent once more."},
}

// refusals are the errors that have words of their own.
var refusals = []struct {
	err         error
	status      int
	title, text string
}{
	{jobs.ErrNotFound, http.StatusNotFound, "Nothing here for you",
		"There is no such project or export, or you are neither the owner nor an admin of the project. If you should be, ask its owner to make you an admin."},
	{jobs.ErrFrozen, http.StatusForbidden, "This project is closed",
		"An administrator of the platform has closed the project. Nobody can export from it until it is opened again."},
	{jobs.ErrGone, http.StatusGone, "This file has been deleted",
		"Files are kept for some days only, and this one's time is over, or somebody deleted it. You can run the export again."},
	{jobs.ErrNotReady, http.StatusConflict, "There is no file yet",
		"The export is not over, or came to nothing. Its page says which."},
	{jobs.ErrFinal, http.StatusConflict, "The export is already over",
		"There is nothing left to stop."},
	{jobs.ErrNotOver, http.StatusConflict, "The export is not over",
		"Stop it first; what it has written is then deleted."},
	{jobs.ErrExtended, http.StatusConflict, "This file was kept as long as is possible",
		"Download it before its time is over, or run the export again later."},
	{jobs.ErrQueueFull, http.StatusConflict, "Too many exports are waiting",
		"This project has as many exports in the queue as it may have. Wait until one of them is over, or cancel one."},
	{jobs.ErrMoved, http.StatusConflict, "The task has moved on",
		"It is in another state by now, which does not allow this. Look at the queue again."},
	{jobs.ErrKeyReused, http.StatusConflict, "This form was sent before",
		"It was sent with other choices. Load the page again, then choose."},
}

// didWords say what somebody did, by the audit's word.
var didWords = map[string]string{
	jobs.ActionCreate: "asked for the export", jobs.ActionJoin: "joined the export", jobs.ActionCancel: "stopped the export",
	jobs.ActionExtend: "kept the file for longer", jobs.ActionPurge: "deleted the file", jobs.ActionPurgeProject: "deleted all exports of the project",
	jobs.ActionResend:    "had a mail sent once more",
	jobs.ActionRetry:     "had it tried again",
	jobs.ActionMoveAhead: "moved it ahead of all others", jobs.ActionPause: "paused the exports", jobs.ActionResume: "let the exports go on",
	jobs.ActionTask:    "changed the raw queue:",
	jobs.ActionPreview: "looked at a preview", jobs.ActionOriginal: "downloaded the original file",
	string(jobs.File): "downloaded the file", string(jobs.Manifest): "downloaded the manifest", string(jobs.Checksums): "downloaded the checksums",
}

// wantedWords say what was refused, by the audit's word.
var wantedWords = map[string]string{
	jobs.ActionCreate: "asking for an export", jobs.ActionGet: "looking at an export", jobs.ActionList: "looking at the exports",
	jobs.ActionWatch: "watching an export", jobs.ActionAudit: "looking at this list", jobs.ActionPreview: "a preview",
	jobs.ActionResend: "sending a mail", jobs.ActionOps: "the operators' page", jobs.ActionStop: "stopping an export as an operator",
	jobs.ActionRetry: "trying again as an operator", jobs.ActionMoveAhead: "moving an export ahead", jobs.ActionPause: "pausing exports",
	jobs.ActionResume: "letting paused exports go on", jobs.ActionQueue: "the raw queue", jobs.ActionTask: "changing the raw queue",
	jobs.ActionCancel: "stopping an export", jobs.ActionExtend: "keeping a file", jobs.ActionPurge: "deleting a file",
	jobs.ActionPurgeProject: "deleting all exports", jobs.ActionOriginal: "an original file",
	string(jobs.File): "downloading a file", string(jobs.Manifest): "downloading a manifest", string(jobs.Checksums): "downloading checksums",
}

func refusedWords(action string) string {
	if w := wantedWords[action]; w != "" {
		return w
	}
	return action
}

// aboutWords say what a mail tells, and becameWords what became of it.
var aboutWords = map[jobs.Outcome]string{
	jobs.LetterReady: "that it is ready", jobs.LetterFailed: "that it failed", jobs.LetterCanceled: "that it was stopped",
	jobs.LetterExpiring: "that the file will be deleted soon", jobs.LetterExported: "that somebody exported everything",
}

var becameWords = map[jobs.LetterState]string{
	jobs.LetterDue: "is on its way", jobs.LetterSent: "was sent", jobs.LetterDropped: "was not sent: not the owner or an admin any more",
	jobs.LetterRefused: "was refused by the mail server", jobs.LetterUnsure: "was sent, but the mail server did not confirm it",
	jobs.LetterGivenUp: "could not be sent for days",
}

// reasonWords say why a row is missing, by the manifest's word.
var reasonWords = map[string]string{
	"damaged": "what is stored cannot be read", "invalid_value": "what is stored is not valid", "too_large": "it is larger than can be read",
}
