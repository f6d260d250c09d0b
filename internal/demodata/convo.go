package demodata

import (
	"strconv"
	"time"
)

// convoWriter writes the JSON of one conversation after the other into the
// same buffer.
type convoWriter struct {
	emitter
	r    rng
	lang *language
	row  *conversationRow
	gen  int // 1 to 6
	q    quirk
	// topic is where in the language's river its sources are.
	topic int
}

// write returns the conversation of a row. It lasts until the next call.
func (w *convoWriter) write(row *conversationRow, gen int, q quirk, r rng) []byte {
	w.r, w.row, w.gen, w.q = r, row, gen, q
	w.lang = pickLanguage(&w.r)
	w.topic = w.r.below(len(w.lang.sentences))
	w.reset(layoutOf(q))
	switch q {
	case quirkJSONNull:
		w.raw("null")
	case quirkString:
		w.text(60)
	case quirkArray:
		w.raw(`["message", {"role": "assistant", "contexts": []}, 1.0]`)
	default:
		w.conversation()
	}
	return w.b
}

// pickLanguage: six in ten write the first one.
func pickLanguage(r *rng) *language {
	all := languages()
	if r.permille(600) {
		return all[0]
	}
	return pick(r, all)
}

// conversation writes the members in the order of their generation. Later
// clients put the messages last.
func (w *convoWriter) conversation() {
	w.open('{')
	w.key("id")
	w.str(string(w.row.convoID))
	w.key("name")
	w.title()
	if w.q == quirkDuplicates {
		w.key("name")
		w.title()
	}
	if w.gen <= 3 {
		w.messages()
	}
	w.member("model", pick(&w.r, models))
	w.key("prompt")
	w.passage(w.r.between(60, 700))
	w.member("temperature", pick(&w.r, temperatures))
	w.member("folderId", "null")
	w.people()
	w.oddities()
	if w.gen > 3 {
		w.messages()
	}
	w.close('}')
}

var models = []string{
	`{"id":"gpt-3.5-turbo","name":"GPT-3.5","maxLength":12000,"tokenLimit":4000}`,
	`{"id":"gpt-4-0613","name":"GPT-4-0613"}`,
	`{"id":"gpt-4o-mini","name":"GPT-4o mini","tokenLimit":128000,"enabled":true,"temperature":0.1}`,
	`{"id":"llama3.1:8b-instruct-fp16","name":"Llama 3.1 8b (quantized)","parameterSize":"8B","tokenLimit":15000}`,
	`{"id":"qwen2.5-vl-72b","name":"Qwen 2.5 VL 72B","tokenLimit":23000,"enabled":true}`,
}

var temperatures = []string{"0.1", "0.1", "0.3", "0.4", "0.5", "0.7", "1", "0"}

// people writes who had the conversation, as far as the generation says so.
func (w *convoWriter) people() {
	switch {
	case w.gen == 1:
		return
	case w.gen < 5:
		w.key("user_email")
	default:
		w.key("userEmail")
	}
	switch {
	case len(w.row.email) > 0:
		w.str(string(w.row.email))
	case w.r.permille(400):
		w.raw(`""`)
	default:
		w.raw("null")
	}
	if w.gen < 5 {
		return
	}
	w.field("projectName", w.row.project.name)
	w.key("createdAt")
	w.instant(w.row.at)
	w.key("updatedAt")
	w.instant(w.row.at + int64(w.r.below(1<<40)))
}

// oddities writes the fields of some quirks.
func (w *convoWriter) oddities() {
	switch w.q {
	case quirkNumbers:
		w.key("usage")
		w.open('[')
		for _, n := range oddNumbers {
			w.item()
			w.raw(n)
		}
		w.close(']')
	case quirkUnknown:
		w.member("x_lti", `{"":{"":[]},"nested":[[[{"deep":[null,true,{}]}]]],"line":"\r\n","é\"\\":1}`)
	case quirkNested:
		w.member("draft", `{"messages":[{"role":"assistant","contexts":[]}]}`)
		w.key("contexts")
		w.contexts(w.r.between(81, 150), 40)
	}
}

func (w *convoWriter) messages() {
	w.key("messages")
	w.open('[')
	if w.q != quirkNoMessages {
		w.turns()
	}
	w.close(']')
}

func (w *convoWriter) turns() {
	if w.gen >= 3 && w.r.permille(150) {
		w.item()
		w.system()
	}
	n := 1
	for n < 14 && w.r.permille(540) {
		n++
	}
	for turn := range n {
		w.item()
		w.user(turn)
		w.item()
		w.assistant(turn)
	}
}

func (w *convoWriter) system() {
	w.open('{')
	w.identity("system")
	w.key("content")
	w.passage(400)
	w.member("contexts", "[]")
	w.close('}')
}

// identity writes what a message begins with.
func (w *convoWriter) identity(role string) {
	if w.gen >= 4 {
		w.key("id")
		w.uuid()
	}
	w.field("role", role)
}

func (w *convoWriter) text(n int) {
	w.b = append(w.b, '"')
	w.b = w.lang.text(w.b, &w.r, n)
	switch w.q {
	case quirkNUL:
		w.b = append(w.b, `\u0000 \u0000`...)
	case quirkSurrogate:
		w.b = append(w.b, `\ud83d \uDC00\uD800`...)
	case quirkNumbers:
		w.b = append(w.b, `\ud83d\ude00\u0041\b\f`...) // escapes that need not be
	}
	w.b = append(w.b, '"')
}

func (w *convoWriter) passage(n int) {
	w.b = append(w.b, '"')
	w.b = w.lang.passage(w.b, &w.r, n)
	w.b = append(w.b, '"')
}

func (w *convoWriter) title() {
	w.b = append(w.b, '"')
	w.b = w.lang.title(w.b, &w.r)
	w.b = append(w.b, '"')
}

func (w *convoWriter) uuid() {
	w.b = append(w.b, '"')
	w.b = appendUUID(w.b, &w.r)
	w.b = append(w.b, '"')
}

func (w *convoWriter) instant(micros int64) {
	w.b = append(w.b, '"')
	w.b = time.UnixMicro(micros).UTC().AppendFormat(w.b, "2006-01-02T15:04:05.000Z")
	w.b = append(w.b, '"')
}

func (w *convoWriter) number(n int) { w.b = strconv.AppendInt(w.b, int64(n), 10) }
