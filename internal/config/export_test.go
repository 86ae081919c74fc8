package config

import (
	"slices"
	"strings"

	"github.com/extauthz/extauthz/internal/config/yamltree"
	"github.com/extauthz/extauthz/pkg/descriptors"
	"github.com/extauthz/extauthz/pkg/hierarchy"
)

// Keys are the names of all keys that a file can have and that are heeded.
func Keys() []string {
	r := &reader{file: yamltree.Parse(nil), report: &Report{}}
	all := []string{"rules", "limits", "rate", "burst", "headers", "status", "body", "content_type"}
	add := func(fields []field) {
		for _, f := range fields {
			all = append(all, f.name)
		}
	}
	add(process{}.sections(r))
	for _, s := range settings() {
		if s.key != "log.level" && s.key != "log.format" && s.key != keyRatelimit {
			all = append(all, s.key[strings.LastIndexByte(s.key, '.')+1:])
		}
	}
	var rule descriptors.RuleSource
	add(r.ruleFields(&rule))
	var level hierarchy.Level
	add(r.level(&level, true))
	var entity hierarchy.Entity
	add(r.entityFields(&entity))
	var doc hierarchy.Document
	add(r.documentFields(&doc))
	return slices.DeleteFunc(all, func(name string) bool {
		return name == "manager"
	})
}
