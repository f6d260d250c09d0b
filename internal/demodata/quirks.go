package demodata

// quirk is what is odd about a row. Of every 256 rows in a row each of them
// marks one, at a place that depends on the seed, so that a small table has
// them all; the remaining rows are plain.
type quirk int

const (
	quirkNull        quirk = iota // convo is NULL
	quirkJSONNull                 // convo is null
	quirkString                   // convo is a string
	quirkArray                    // convo is an array
	quirkNoMessages               // messages is empty
	quirkEmptyFirst               // the first message is ""
	quirkImageFirst               // the first message is an image and nothing else
	quirkDuplicates               // the same key twice in one object
	quirkNUL                      // \u0000 in strings
	quirkSurrogate                // half of a surrogate pair
	quirkNumbers                  // numbers that a float64 would print in another way
	quirkUnknown                  // fields that nobody has heard of
	quirkRoleLast                 // role stands behind more than 80 contexts
	quirkTwoRoles                 // of two roles the last one counts; escaped keys
	quirkUserContext              // more than 80 contexts, but not the assistant's
	quirkNested                   // more than 80 contexts, but not in a message
	quirkInline                   // an image within the text, 20 to 60 KB of it
	quirkLayout                   // white space between tokens, this and the next
	quirkNone        = quirkLayout + 12
)

// quirkOf shuffles the quirks within each 256 rows: an odd multiplier moves
// them about without two of them meeting.
func quirkOf(seed uint64, i int64) quirk {
	r := stream(seed, 3, i>>8)
	k := r.next()
	return min(quirk((uint64(i)*(k>>8|1)+k)&255), quirkNone)
}

// layoutOf is the white space that goes with a quirk.
func layoutOf(q quirk) layout {
	if q < quirkLayout || q >= quirkNone {
		return layout{}
	}
	return layouts[int(q-quirkLayout)%len(layouts)]
}

// oddNumbers are valid JSON, and come out of most decoders as something else.
var oddNumbers = []string{
	`1.0`, `1e3`, `-0`, `0.10`, `1E+2`, `-0.0`, `123456789012345678901234567890`, `0.1000000000000000055511151231257827`,
	`9007199254740993`, `1e-7`, `5e-324`, `1e308`,
}
