package descriptors

import (
	"errors"
	"fmt"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
)

// environment is the language of the rules: CEL, its strings and optionals,
// three functions and the variables of both protocols.
type environment struct {
	rules   *cel.Env
	answers *cel.Env // of on_allow and on_deny, which know the entity
}

// labelSharedError keeps evaluations from racing: CEL has one error value for
// "no such overload" and writes into it the first place where it is seen.
var labelSharedError = sync.OnceFunc(func() { types.LabelErrNode(1, types.NoSuchOverloadErr()) })

// The texts that errors for something missing begin with; all but
// noSuchAttribute, which is ours, are CEL's own.
const (
	noSuchAttribute = "no such attribute: "
	noSuchKey       = "no such key: "
)

func newEnvironment() (*environment, error) {
	labelSharedError()
	rules, err := newEnv(false)
	if err != nil {
		return nil, fmt.Errorf("set up the expressions of rules: %w", err)
	}
	answers, err := newEnv(true)
	if err != nil {
		return nil, fmt.Errorf("set up the expressions of answers: %w", err)
	}
	return &environment{rules: rules, answers: answers}, nil
}

func newEnv(answers bool) (*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	options := []cel.EnvOption{
		cel.CustomTypeAdapter(registry),
		cel.CustomTypeProvider(provider{registry}),
		cel.OptionalTypes(),
		ext.Strings(),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateRegexProgramSizeLimit(maxRegex)),
		cel.ParserExpressionSizeLimit(maxText),
		cel.Function("inCIDR", cel.Overload("inCIDR_string_list",
			[]*cel.Type{cel.StringType, cel.ListType(cel.StringType)}, cel.BoolType, cel.BinaryBinding(inCIDR))),
		cel.Function("isIP", cel.Overload("isIP_string",
			[]*cel.Type{cel.StringType}, cel.BoolType, cel.UnaryBinding(onText(func(s string) ref.Val { return types.Bool(isIP(s)) })))),
		cel.Function("sha256", cel.Overload("sha256_string",
			[]*cel.Type{cel.StringType}, cel.StringType, cel.UnaryBinding(onText(func(s string) ref.Val { return types.String(shortHash(s)) })))),
		// What sha256 becomes where it hashes a text of the request: see inspector.hash.
		cel.Function("@sha256", cel.Overload(hashOfReadOverload,
			[]*cel.Type{cel.StringType}, cel.StringType, cel.UnaryBinding(onText(func(s string) ref.Val { return types.String(hashOfRead(s)) })))),
	}
	for _, v := range variables {
		if answers || !v.answers {
			options = append(options, cel.Variable(v.name, v.typ))
		}
	}
	return cel.NewEnv(options...)
}

// hashOfReadOverload names hashOfRead for CEL.
const hashOfReadOverload = "sha256_read"

func onText(f func(s string) ref.Val) func(ref.Val) ref.Val {
	return func(v ref.Val) ref.Val {
		s, ok := v.(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(v)
		}
		return f(string(s))
	}
}

// provider tells CEL which fields the variables have.
type provider struct{ *types.Registry }

// FindStructType is a type by its name.
func (p provider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := structures[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Registry.FindStructType(name)
}

// FindStructFieldNames are the names of a type's fields.
func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	if _, ok := structures[name]; ok {
		return fieldNames(name), true
	}
	return p.Registry.FindStructFieldNames(name)
}

// FindStructFieldType is a field's type, and how it is read.
func (p provider) FindStructFieldType(name, fieldName string) (*types.FieldType, bool) {
	if _, ok := structures[name]; !ok {
		return p.Registry.FindStructFieldType(name, fieldName)
	}
	f, ok := fieldOf(name, fieldName)
	if !ok {
		return nil, false
	}
	if f.kind != nil {
		return &types.FieldType{
			Type:    textMap,
			IsSet:   func(any) bool { return true },
			GetFrom: func(target any) (any, error) { return f.value(target), nil },
		}, true
	}
	if f.list != nil {
		return &types.FieldType{
			Type:    cel.ListType(cel.StringType),
			IsSet:   func(target any) bool { return f.list(target).Size() != types.IntZero },
			GetFrom: func(target any) (any, error) { return f.list(target), nil },
		}, true
	}
	missing := errors.New(noSuchAttribute + fieldName)
	return &types.FieldType{
		Type:  types.StringType,
		IsSet: func(target any) bool { return f.text(target) != "" },
		GetFrom: func(target any) (any, error) {
			if s := f.text(target); s != "" {
				return types.String(capped(s)), nil
			}
			return nil, missing
		},
	}, true
}

// NewValue makes nothing of our types: only requests have them.
func (p provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if _, ok := structures[name]; ok {
		return types.NewErr("a %s can't be made", name)
	}
	return p.Registry.NewValue(name, fields)
}

// The bounds of what expressions work on, which the estimate of their cost
// rests on. Envoy holds requests to 100 headers and 60 KiB of them by default.
const (
	mostKeys   = 256  // of a map that an expression goes over
	mostValues = 1024 // of a list
	// mostMade is how long a text is that an expression puts together, where CEL
	// doesn't follow its size: nearly all that maxCost allows to be made.
	mostMade = 1 << 25
	// maxCost is in CEL's units, 2 ns or less each; its estimates of what joins and
	// splits texts are far above what those can take.
	maxCost = 40_000_000
	// maxRegex is the size of a compiled regular expression: about two for each
	// letter or class, times how often a {n} repeats it.
	maxRegex = 300
)

// sizes bounds the sizes of what a request holds, and of what an expression
// makes of it.
type sizes struct{ of *ast.AST }

var _ cost.Estimator = sizes{}

// EstimateSize bounds a value by its type.
func (s sizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	var most uint64
	switch node.Type().Kind() {
	case types.StringKind, types.BytesKind, types.DynKind: // of metadata: a text, a map or a list
		most = maxCapped
		if s.isMade(node) {
			most = mostMade
		}
	case types.MapKind:
		most = mostKeys
	case types.ListKind:
		most = mostValues
	case types.StructKind, types.OpaqueKind: // an entry; an optional text
		most = 2 * maxCapped
	default:
		return nil
	}
	return &cost.SizeEstimate{Min: 0, Max: most}
}

// isMade reports whether an expression has put a value together: it doesn't lie
// in the request.
func (s sizes) isMade(node cost.AstNode) bool {
	n := node.Expr()
	if n == nil || len(node.Path()) > 0 {
		return false
	}
	switch n.Kind() {
	case ast.CallKind, ast.ComprehensionKind, ast.IdentKind:
		return true
	case ast.SelectKind: // nothing makes an entry
		return s.of.GetType(n.AsSelect().Operand().ID()).Kind() != types.StructKind
	}
	return false
}

// EstimateCallCost bounds a call of our own functions, and of those whose
// results CEL doesn't follow.
func (s sizes) EstimateCallCost(function, _ string, _ *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	switch function {
	case "sha256":
		digits := cost.FixedSizeEstimate(hashDigits)
		return cost.NewCallEstimate(cost.RangedCostEstimate(1, s.sizeOf(args[0])/10+1), &digits)
	case "isIP":
		return cost.NewCallEstimate(cost.RangedCostEstimate(1, maxCapped/10), nil)
	case "string":
		most := max(maxNumber, s.sizeOf(args[0]))
		return cost.NewCallEstimate(cost.RangedCostEstimate(1, most/10+1), &cost.SizeEstimate{Max: most})
	case "inCIDR":
		most := uint64(mostValues)
		if len(args) == 2 {
			if size := args[1].ComputedSize(); size != nil {
				most = size.Max
			}
		}
		return cost.NewCallEstimate(cost.RangedCostEstimate(1, 10*(most+1)), nil)
	}
	return nil
}

// maxNumber is the longest text that a number, a time or a duration becomes.
const maxNumber = 64

// sizeOf bounds a value that is handed to a function.
func (s sizes) sizeOf(node cost.AstNode) uint64 {
	if size := node.ComputedSize(); size != nil {
		return size.Max
	}
	if size := s.EstimateSize(node); size != nil {
		return size.Max
	}
	return 0
}
