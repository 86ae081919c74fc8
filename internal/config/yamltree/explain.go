package yamltree

import "strings"

// explanation says in words of the file what is wrong.
type explanation struct {
	said          string // what the library's words begin with
	message, hint string

	// ahead is how many characters the library has read when it stops, from the
	// one at fault on, which is one of at. 0: it doesn't stand there.
	ahead int
	at    string
	// search is set where the library doesn't know the line, or tells where
	// something begins that can be far above. Then instead is what gives another
	// error where the text is cut off before the line.
	search  bool
	instead string
}

const (
	tagged  = `"!" begins a tag of YAML, and tags are not used here`
	aliased = "aliases are not used here"
	tooDeep = "more than 64 levels in each other"

	quoteIt   = "put quotes around the text"
	quoteAny  = "put quotes around a text with any of { } [ ] , ! in it"
	quoteAll  = "put quotes around the whole of a value"
	inSingle  = `in single quotes a \ is just that`
	badDigits = `\x, \u and \U need 2, 4 and 8 hexadecimal digits of a character`
	twoCommas = "\n#\n,," // no collection in brackets can go on so
)

func explanations() []explanation {
	return []explanation{
		{said: "mapping values are not", message: "a colon with a space behind it can't be here", ahead: 4, at: ":", hint: "put quotes around a text that has one; indent a key as those beside it"},
		{said: "could not find expected ':'", message: "a key and its colon are missing", hint: "write `key: value`, with the space"},
		{said: "did not find expected ',' or '}'", message: "a comma or the closing } is missing, here or above", hint: quoteAny, search: true, instead: twoCommas},
		{said: "did not find expected ',' or ']'", message: "a comma or the closing ] is missing, here or above", hint: quoteAny, search: true, instead: twoCommas},
		{said: "did not find expected key", message: "this is neither a key nor a part of the value before it", search: true, hint: "indent a key as those beside it; " + quoteAll},
		{said: "did not find expected '-'", message: "this is neither an item of the list nor a part of the one before it", search: true, hint: "indent an item as those beside it; " + quoteAll},
		{said: "did not find expected node", message: "a value is missing", hint: quoteAny, search: true, instead: "\n#\nx"},
		{said: "did not find expected <document", message: "this line is not part of what stands before it", search: true, hint: "a configuration is one document; indent a key as those beside it"},
		{said: "block sequence entries", message: "a list can't begin on the line of its key", hint: "begin it on the next line, or write [a, b]", ahead: 4, at: "-"},
		{said: "mapping keys are not", message: "complex keys are not used here", hint: "write `key: value`", ahead: 4, at: "?"},
		{said: "found character", message: "a text can't begin with this", hint: quoteIt, ahead: 4, at: "@`%\t"},
		{said: "found a tab", message: "a tab can't indent a line", hint: "use spaces", search: true},
		{said: "found unexpected end", message: "a quote that opens on this line is not closed", hint: "put a quote at the text's end"},
		{said: "found unexpected document", message: "a quote that opens on this line is not closed", hint: "put a quote at the text's end"},
		{said: "found unknown escape", message: "this is no escape in double quotes", hint: inSingle, ahead: 2, at: `\`},
		{said: "did not find expected hex", message: badDigits, hint: inSingle},
		{said: "found invalid Unicode", message: badDigits, hint: inSingle},
		{said: "did not find expected comment", message: "nothing can follow | or > on its line", hint: "a text that begins with it goes into quotes"},
		{said: "found an indentation indicator", message: "no 0 can follow | or >", hint: "a text that begins with it goes into quotes"},
		{said: "exceeded max depth", message: tooDeep},

		{said: "unknown anchor", message: aliased, hint: quoteIt, search: true},
		{said: "did not find expected alphabetic", message: "& and * begin anchors and aliases of YAML, which are not used here", hint: quoteIt},
		{said: "found undefined tag", message: tagged, hint: quoteIt, search: true},
		{said: "did not find expected whitespace", message: tagged, hint: quoteIt},
		{said: "did not find expected '!'", message: tagged, hint: quoteIt},
		{said: "did not find expected tag", message: tagged, hint: quoteIt},
		{said: "did not find the expected '>'", message: tagged, hint: quoteIt},
		{said: "did not find URI", message: tagged, hint: quoteIt},
		{said: "found an incorrect", message: tagged, hint: quoteIt},
	}
}

// explain finds the explanation of what the library says, or takes its words.
func explain(said string) explanation {
	for _, e := range explanations() {
		if strings.HasPrefix(said, e.said) {
			return e
		}
	}
	return explanation{message: said, search: true}
}
