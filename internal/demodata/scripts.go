package demodata

import "strings"

// script is how the words of an invented language are made: its syllables, and
// what stands between words and behind sentences. Nothing in it is a text.
type script struct {
	onset, nucleus, coda []string
	space                string
	stops                []string
	syllables            int // at most, in a word
	upper                bool
}

// The first one is by far the most frequent.
var scripts = []script{
	{
		onset:   parts("b br c ch d dr f fl g gr h j l m n p pl pr qu r s sh st str t th tr v w _ _"),
		nucleus: parts("a e i o u ea ou ai io ee"), coda: parts("_ _ _ n r s t l m nd ng st ck rm x"),
		space: " ", stops: parts(". . . ? ! ;"), syllables: 4, upper: true,
	},
	{ // Latin with diacritics
		onset:   parts("b ç d dž f g gł h k l m ñ p př r s š st t v z ž _"),
		nucleus: parts("a á â ã ä e é ê ě i í o ó ô õ ö ø u ü ů y ý"), coda: parts("_ _ n r s t l m ß nt"),
		space: " ", stops: parts(". . ? … :"), syllables: 4, upper: true,
	},
	{ // Cyrillic
		onset:   parts("б в г д ж з к кр л м н п пр р с ст т тр ф х ц ч ш щ _"),
		nucleus: parts("а е ё и о у ы э ю я ий"), coda: parts("_ _ _ й н р с т л м ть ск ж"),
		space: " ", stops: parts(". . . ? ! —"), syllables: 4, upper: true,
	},
	{ // Greek
		onset:   parts("β γ δ ζ θ κ κτ λ μ ν ξ π πρ ρ σ στ τ φ χ ψ _"),
		nucleus: parts("α ά ε έ η ή ι ί ο ό υ ω ώ αι ου ει"), coda: parts("_ _ _ ς ν ρ"),
		space: " ", stops: parts(". . · ;"), syllables: 4, upper: true,
	},
	{ // Arabic, from right to left
		onset:   parts("ا ب ت ث ج ح خ د ذ ر ز س ش ص ض ط ظ ع غ ف ق ك ل م ن ه و ي ال"),
		nucleus: parts("ا و ي ُ ِ َ _ _"), coda: parts("_ _ _ ن ر ة ل م"),
		space: " ", stops: parts(". ، ؛ ؟"), syllables: 3,
	},
	{ // Devanagari
		onset:   parts("क ख ग घ च छ ज ट ड त थ द ध न प फ ब भ म य र ल व श ष स ह क्ष त्र"),
		nucleus: parts("_ _ ा ि ी ु ू े ै ो ौ"), coda: parts("_ _ _ न र ं त ल म"),
		space: " ", stops: parts("। । ?"), syllables: 3,
	},
	{ // Han
		onset: runes('一', 1900, 11), nucleus: runes('丁', 1900, 11), coda: parts("_ _ _ 的 了 者 法 学"),
		stops: parts("。 。 ， ， ； ？"), syllables: 2,
	},
	{ // Kana
		onset: runes('ぁ', 80, 1), nucleus: append(runes('ァ', 80, 1), parts("ー ん っ")...), coda: parts("_ _ は が を に の です"),
		stops: parts("。 。 、 、 ！"), syllables: 2,
	},
	{ // Hangul
		onset: runes('가', 1100, 10), nucleus: runes('나', 900, 10), coda: parts("_ _ 는 을 에 의"),
		space: " ", stops: parts(". . ?"), syllables: 2,
	},
}

// Emoji of one, two and more code points.
var emoji = parts("😀 🎓 🧪 📚 🚀 👍 ✅ 👩‍🔬 🇫🇷 ❤️ 🧑🏽‍💻 👨‍👩‍👧‍👦")

// parts splits a list at its blanks; an underscore stands for nothing.
func parts(list string) []string {
	f := strings.Fields(list)
	for i := range f {
		f[i] = strings.ReplaceAll(f[i], "_", "")
	}
	return f
}

// runes lists n characters, step apart.
func runes(first rune, n, step int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = string(first + rune(i*step))
	}
	return list
}
