package awslocal

import (
	"regexp"
	"slices"
)

// changeSet is what would become of a stack.
type changeSet struct {
	id     string
	stack  *stack
	create bool
	looked int // how often it was asked for

	body     string
	template *template
	values   map[string]string
	tags     map[string]string
	changes  []change
}

// change is what becomes of one resource.
type change struct {
	action, resource, kind, replacement string
	properties                          []string
	tagsAlone                           bool
}

// replacing are the properties of the types here that can't be changed in place.
func replacing(kind, property string) bool {
	return slices.Contains([]string{
		"AWS::DynamoDB::Table.TableName", "AWS::DynamoDB::Table.KeySchema", "AWS::IAM::Role.RoleName",
		"AWS::IAM::ManagedPolicy.ManagedPolicyName", "AWS::SQS::Queue.QueueName", "AWS::Logs::LogGroup.LogGroupName",
		"AWS::Lambda::Function.FunctionName", "AWS::Lambda::EventSourceMapping.EventSourceArn",
		"AWS::Lambda::EventSourceMapping.StartingPosition", "AWS::S3::Bucket.BucketName",
	}, kind+"."+property)
}

var getatt = regexp.MustCompile(`getatt:(\w+)\.`)

// difference compares what is there with what a template would make. A resource
// that asks another, which changes, for an attribute may have to change too.
func difference(was, is map[string]*resource, tags bool) []change {
	var all []change
	modified := map[string]bool{}
	for _, name := range sorted(is) {
		if was[name] == nil {
			all = append(all, change{action: "Add", resource: name, kind: is[name].kind})
			continue
		}
		if c := compare(name, was[name], is[name]); c != nil {
			modified[name] = true
			all = append(all, *c)
		} else if tags && taggable(is[name].kind) {
			modified[name] = true
			all = append(all, change{action: "Modify", resource: name, kind: is[name].kind, replacement: "False", tagsAlone: true})
		}
	}
	for _, name := range sorted(is) {
		if was[name] == nil || modified[name] {
			continue
		}
		if c := dynamic(name, is[name], modified); c != nil {
			all = append(all, *c)
		}
	}
	for _, name := range sorted(was) {
		if is[name] == nil {
			all = append(all, change{action: "Remove", resource: name, kind: was[name].kind})
		}
	}
	return all
}

func taggable(kind string) bool {
	return slices.Contains([]string{
		"AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SQS::Queue", "AWS::Lambda::Function", "AWS::IAM::Role", "AWS::Logs::LogGroup",
	}, kind)
}

func compare(name string, was, is *resource) *change {
	c := &change{action: "Modify", resource: name, kind: is.kind, replacement: "False"}
	for _, property := range sorted(is.text) {
		if was.text[property] != is.text[property] {
			c.properties = append(c.properties, property)
		}
	}
	for _, property := range sorted(was.text) {
		if _, ok := is.text[property]; !ok {
			c.properties = append(c.properties, property)
		}
	}
	if len(c.properties) == 0 {
		return nil
	}
	if slices.ContainsFunc(c.properties, func(p string) bool { return replacing(is.kind, p) }) {
		c.replacement = "True"
	}
	return c
}

// dynamic is what may become of a resource because others change.
func dynamic(name string, is *resource, modified map[string]bool) *change {
	c := &change{action: "Modify", resource: name, kind: is.kind, replacement: "False"}
	for _, property := range sorted(is.text) {
		for _, m := range getatt.FindAllStringSubmatch(is.text[property], -1) {
			if !modified[m[1]] || slices.Contains(c.properties, property) {
				continue
			}
			c.properties = append(c.properties, property)
			if replacing(is.kind, property) {
				c.replacement = "Conditional"
			}
		}
	}
	if len(c.properties) == 0 {
		return nil
	}
	return c
}
