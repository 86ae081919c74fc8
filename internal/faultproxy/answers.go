package faultproxy

import (
	"encoding/json"
	"hash/crc32"
	"net"
	"net/http"
	"strconv"
)

// The names of DynamoDB's errors that tests ask for.
const (
	CodeThroughput = "ProvisionedThroughputExceededException"
	CodeThrottling = "ThrottlingException"
	CodeLimit      = "RequestLimitExceeded"
	CodeConflict   = "TransactionConflictException"
	CodeForbidden  = "AccessDeniedException"
	CodeMissing    = "ResourceNotFoundException"
)

// Throttle is a call turned away for want of capacity, as one of the Code names
// says it, for DynamoDB's reasons.
func Throttle(code string, reasons ...string) Fault {
	return Fault{Action: Refuse, Code: code, Message: "throttled", Reasons: reasons}
}

// Conflict is a call on an item that a transaction holds.
func Conflict() Fault {
	return Fault{Action: Refuse, Code: CodeConflict, Message: "Transaction is ongoing for the item"}
}

// refuse answers as DynamoDB does.
func refuse(w http.ResponseWriter, f Fault) {
	type reason struct {
		Reason   string `json:"reason"`
		Resource string `json:"resource"`
	}
	reasons := make([]reason, 0, len(f.Reasons))
	for _, r := range f.Reasons {
		reasons = append(reasons, reason{r, "arn:aws:dynamodb:us-east-1:000000000000:table/any"})
	}
	body := map[string]any{"__type": "com.amazonaws.dynamodb.v20120810#" + f.Code, "message": f.Message}
	switch {
	case len(reasons) == 0:
	case f.Code == CodeThrottling: // the one that writes it small
		body["throttlingReasons"] = reasons
	default:
		body["ThrottlingReasons"] = reasons
	}
	respond(w, http.StatusBadRequest, body)
}

// fail answers as a server that has failed.
func fail(w http.ResponseWriter, f Fault) {
	status := f.Status
	if status == 0 {
		status = http.StatusInternalServerError
	}
	respond(w, status, map[string]any{
		"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError", "message": "the request processing has failed",
	})
}

func respond(w http.ResponseWriter, status int, body map[string]any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(text)), 10))
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that is gone reads nothing
}

// reset ends the connection without an answer.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // it is closed already
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a reset in place of an orderly end
	}
	_ = conn.Close()
}

// cut ends the connection in the middle of an answer.
func cut(w http.ResponseWriter) {
	control := http.NewResponseController(w)
	_ = control.Flush()
	conn, _, err := control.Hijack()
	if err != nil {
		return // it is closed already
	}
	_ = conn.Close()
}
