package embedstore

import "sync"

type saver struct{ mu sync.Mutex }
