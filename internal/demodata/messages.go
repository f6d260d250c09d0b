package demodata

// user writes a question.
func (w *convoWriter) user(turn int) {
	w.open('{')
	w.identity("user")
	if w.q == quirkDuplicates {
		w.member("content", `"replaced"`)
	}
	w.key("content")
	w.question(turn)
	if w.gen >= 2 {
		w.key("contexts")
		if w.q == quirkUserContext && turn == 0 {
			w.contexts(w.r.between(81, 120), 60)
		} else {
			w.raw("[]")
		}
	}
	if w.gen >= 4 && w.r.permille(120) {
		w.key("latestSystemMessage")
		w.passage(500)
		w.key("finalPromtEngineeredMessage") // the platform's own spelling
		w.passage(900)
	}
	if w.gen >= 5 && w.r.permille(250) {
		w.member("wasQueryRewritten", "true")
		w.key("queryRewriteText")
		w.text(80)
	}
	if w.gen >= 6 && w.r.permille(60) {
		w.key("imageDescription")
		w.text(150)
	}
	w.close('}')
}

func (w *convoWriter) question(turn int) {
	switch {
	case turn == 0 && w.q == quirkEmptyFirst:
		w.raw(`""`)
	case turn == 0 && (w.q == quirkImageFirst || w.q == quirkInline):
		w.open('[')
		w.image("image_url", w.q == quirkInline)
		w.close(']')
	case w.gen >= 3 && w.r.permille(90):
		w.parts()
	default:
		w.text(w.r.between(10, 260))
	}
}

// parts is a content of several parts.
func (w *convoWriter) parts() {
	w.open('[')
	w.item()
	w.open('{')
	w.field("type", "text")
	w.key("text")
	w.text(w.r.between(10, 200))
	w.close('}')
	for range w.r.between(0, 2) {
		w.image("image_url", false)
	}
	if w.r.permille(250) {
		w.image("tool_image_url", false)
	}
	if w.gen >= 6 && w.r.permille(400) {
		w.file()
	}
	w.close(']')
}

// image writes an element that shows an image: by its address or, inline, by
// its bytes.
func (w *convoWriter) image(kind string, inline bool) {
	w.item()
	w.open('{')
	w.field("type", kind)
	w.key("image_url")
	w.open('{')
	w.key("url")
	if inline {
		w.raw(`"data:image/png;base64,`)
		w.base64(w.r.between(20_000, 60_000))
		w.raw(`"`)
	} else {
		w.raw(`"https://files.example.edu/`)
		w.b = appendUUID(w.b, &w.r)
		w.raw(`.png?X-Expires=3600"`)
	}
	w.close('}')
	w.close('}')
}

// base64 appends about n random characters of that alphabet.
func (w *convoWriter) base64(n int) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for range n / 8 {
		bits := w.r.next()
		for range 8 {
			w.b = append(w.b, alphabet[bits&63])
			bits >>= 6
		}
	}
}

func (w *convoWriter) file() {
	w.item()
	w.open('{')
	w.field("type", "file")
	w.key("fileName")
	w.title()
	w.field("fileType", "application/pdf")
	w.key("fileUrl")
	w.path()
	w.close('}')
}

// path writes an s3_path of the row's project: one of the few files that the
// conversation is about.
func (w *convoWriter) path() {
	w.raw(`"courses/`)
	w.raw(w.row.project.name)
	w.raw(`/`)
	file := stream(0, 5, int64(w.topic+w.r.below(12)))
	w.b = appendUUID(w.b, &file)
	w.raw(`-notes.pdf"`)
}

// assistant writes an answer.
func (w *convoWriter) assistant(turn int) {
	w.open('{')
	switch {
	case turn == 0 && w.q == quirkRoleLast:
		w.key("contexts")
		w.contexts(w.r.between(81, 150), 150)
		w.key("content")
		w.text(300)
		w.field("role", "assistant")
	case turn == 0 && w.q == quirkTwoRoles:
		w.field("role", "user")
		w.key(`conte\u0078ts`)
		w.contexts(w.r.between(81, 150), 150)
		w.field(`r\u006fle`, "assistant")
		w.key("content")
		w.text(300)
	default:
		w.answer()
	}
	w.close('}')
}

func (w *convoWriter) answer() {
	w.identity("assistant")
	w.key("content")
	w.text(w.r.between(150, 1800))
	if w.gen < 2 {
		return
	}
	w.key("contexts")
	w.contexts(w.retrieved(), 380)
	w.key("responseTimeSec")
	w.number(w.r.between(0, 40))
	if w.gen >= 4 && w.r.permille(50) {
		w.tools()
	}
	if w.gen >= 5 && w.r.permille(60) {
		w.feedback()
	}
	if w.gen >= 6 && w.r.permille(80) {
		w.steps()
	}
}

// retrieved is how many contexts an answer used: none, or up to 20, in the
// end of the tail more than 80.
func (w *convoWriter) retrieved() int {
	switch k := w.r.below(1000); {
	case k < 200:
		return 0
	case k < 950:
		return min(w.r.between(1, 20), w.r.between(1, 20))
	case k < 990:
		return w.r.between(21, 80)
	default:
		return w.r.between(81, 150)
	}
}

func (w *convoWriter) tools() {
	w.key("tools")
	w.open('[')
	w.item()
	w.open('{')
	w.key("id")
	w.uuid()
	w.field("name", "plot_series")
	w.key("aiGeneratedArgumentValues")
	w.open('{')
	w.key("query")
	w.text(40)
	w.close('}')
	w.key("output")
	w.open('{')
	w.key("text")
	w.text(120)
	w.member("imageUrls", `["https://files.example.edu/plot.png"]`)
	w.key("s3Paths")
	w.open('[')
	w.item()
	w.path()
	w.close(']')
	w.member("data", `{"series":[1.50,2e0,null]}`)
	w.close('}')
	w.key("contexts")
	w.contexts(w.r.between(0, 2), 200)
	w.close('}')
	w.close(']')
}

func (w *convoWriter) feedback() {
	w.key("feedback")
	w.open('{')
	w.member("isPositive", pick(&w.r, []string{"true", "false", "null"}))
	w.field("category", "incorrect")
	w.key("details")
	w.text(60)
	w.close('}')
}

func (w *convoWriter) steps() {
	n := w.r.between(1, 4)
	w.key("agentStepNumber")
	w.number(n)
	w.key("agentEvents")
	w.open('[')
	for i := range n {
		w.item()
		w.open('{')
		w.key("stepNumber")
		w.number(i + 1)
		w.field("type", "retrieval")
		w.field("status", "done")
		w.key("title")
		w.title()
		w.close('}')
	}
	w.close(']')
}

// contexts writes n retrieved passages of about so many bytes. Each member is
// as the platform writes it, "course_name " with the blank at its end.
func (w *convoWriter) contexts(n, size int) {
	w.open('[')
	for range n {
		w.item()
		w.open('{')
		w.context(size)
		w.close('}')
	}
	w.close(']')
}

func (w *convoWriter) context(size int) {
	web := w.r.permille(400)
	if web {
		w.field("base_url", "https://course.example.edu/")
	} else {
		w.field("base_url", "")
	}
	w.field("course_name ", w.row.project.name)
	if web {
		w.field("pagenumber", "")
	} else {
		w.key("pagenumber")
		w.raw(`"`)
		w.number(w.r.between(1, 400))
		w.raw(`"`)
	}
	w.key("readable_filename")
	w.title()
	w.key("s3_path")
	if web {
		w.raw(`""`)
	} else {
		w.path()
	}
	w.key("text")
	w.raw(`"`)
	w.b = w.lang.excerpt(w.b, &w.r, w.topic, w.r.between(size/2, size*3/2))
	w.raw(`"`)
}
