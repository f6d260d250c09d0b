// Package jsontest compares JSON in tests without losing anything that a
// person could see: order of keys, repeated keys, number literals.
package jsontest

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Member is one key and value of an object.
type Member struct {
	Key   string
	Value any
}

// Tree decodes one JSON value: objects as []Member, numbers as json.Number.
func Tree(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := value(d)
	if err != nil {
		return nil, fmt.Errorf("decode JSON: %w", err)
	}
	if d.More() {
		return nil, fmt.Errorf("decode JSON: something follows at %d", d.InputOffset())
	}
	return v, nil
}

func value(d *json.Decoder) (any, error) {
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch tok {
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := value(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	case json.Delim('{'):
		object := []Member{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := value(d)
			if err != nil {
				return nil, err
			}
			object = append(object, Member{key.(string), v})
		}
		_, err = d.Token()
		return object, err
	}
	return tok, nil
}

// CapContexts shortens, in a tree, the contexts of every assistant message to
// limit, and says how many it left out: the rule of the file, written for
// reading. Only direct children of messages[] count; the last role decides.
func CapContexts(root any, limit int) (cut int64) {
	members, _ := root.([]Member)
	for _, m := range members {
		messages, _ := m.Value.([]any)
		if m.Key != "messages" {
			continue
		}
		for _, el := range messages {
			cut += capMessage(el, limit)
		}
	}
	return cut
}

func capMessage(el any, limit int) (cut int64) {
	message, _ := el.([]Member)
	assistant := false
	for _, p := range message {
		if p.Key == "role" {
			assistant = p.Value == "assistant"
		}
	}
	for i, p := range message {
		contexts, ok := p.Value.([]any)
		if ok && assistant && p.Key == "contexts" && len(contexts) > limit {
			cut += int64(len(contexts) - limit)
			message[i].Value = contexts[:limit]
		}
	}
	return cut
}
