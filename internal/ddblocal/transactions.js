// TransactWriteItems and TransactGetItems, made of dynalite's own single
// operations: each action runs against a store that only notes what it would
// write; when all of them succeed, what was noted is written in one batch.
//
// As DynamoDB does, it cancels a transaction that meets another one on an item
// (TransactionConflict), and turns away single writes to such an item. A
// transaction that meets a single write waits for it.
//
// HoldItems {TableName, Keys, Milliseconds} is no operation of DynamoDB's: it
// makes items look as if a transaction held them, for tests of conflicts.
'use strict'

const db = require('dynalite/db')
const validations = require('dynalite/validations')

const MAX_ACTIONS = 100
const MAX_BYTES = 4 * 1024 * 1024
const TOKEN_MS = 10 * 60 * 1000

// What an action of each kind is run by, and where its key is.
const KINDS = {
  Put: { operation: 'putItem', key: 'Item' },
  Update: { operation: 'updateItem', key: 'Key' },
  Delete: { operation: 'deleteItem', key: 'Key' },
  ConditionCheck: { operation: 'deleteItem', key: 'Key' }, // whose deletion is forgotten
  Get: { operation: 'getItem', key: 'Key' },
}

const failure = (type, message, more) => Object.assign(new Error(message), {
  statusCode: 400, body: { __type: `com.amazonaws.dynamodb.v20120810#${type}`, message, ...more },
})
const conflict = () => failure('TransactionConflictException', 'Transaction is ongoing for the item')
const promised = (f) => new Promise((resolve, reject) => f((err, value) => (err ? reject(err) : resolve(value))))

// Items that a transaction holds, as "table key".
const held = new Set()

// Single writes are turned away from items that a transaction holds. This must
// run before dynalite itself is loaded, which keeps its actions by name.
const actions = {}
for (const operation of ['putItem', 'updateItem', 'deleteItem', 'getItem']) {
  const path = require.resolve(`dynalite/actions/${operation}`)
  const run = require(path)
  actions[operation] = run
  if (operation === 'getItem') continue
  require.cache[path].exports = (store, data, cb) => store.getTable(data.TableName, (err, table) => {
    if (!err && held.has(itemName(data, data.Item || data.Key, table))) return cb(conflict())
    return run(store, data, cb)
  })
}

function itemName (data, item, table) {
  return db.validateKey(keyOf(item, table), table) ? '' : `${data.TableName} ${db.createKey(item, table)}`
}

function keyOf (item, table) {
  return Object.fromEntries(table.KeySchema.map(({ AttributeName: a }) => [a, item[a]]).filter(([, v]) => v != null))
}

// noting is a store in which an action finds what is there and leaves it so.
function noting (store, writes) {
  const note = (real) => ({
    lock: (key, run) => run((cb) => cb), // the transaction's own
    get: real.get,
    put: (key, value, cb) => { writes.push({ real, op: { type: 'put', key, value } }); cb() },
    del: (key, cb) => { writes.push({ real, op: { type: 'del', key } }); cb() },
  })
  return {
    options: store.options,
    getTable: store.getTable,
    getItemDb: (name) => note(store.getItemDb(name)),
    getIndexDb: (...args) => note(store.getIndexDb(...args)),
  }
}

// read checks the actions of a request and says what each is.
async function read (store, request, kinds) {
  const items = request.TransactItems
  if (!Array.isArray(items) || items.length < 1 || items.length > MAX_ACTIONS) {
    throw db.validationError(`1 validation error detected: Value at 'transactItems' failed to satisfy constraint: Member must have length less than or equal to ${MAX_ACTIONS} and at least 1`)
  }
  const all = []
  const names = new Set()
  for (const item of items) {
    const [kind, ...more] = Object.keys(item)
    if (!kinds.includes(kind) || more.length) {
      throw db.validationError('TransactItems can only contain one of ' + kinds.join(', '))
    }
    const { operation, key } = KINDS[kind]
    const { types, custom } = require(`dynalite/validations/${operation}`)
    const data = validations.checkTypes({ ...item[kind], ReturnConsumedCapacity: 'TOTAL' }, types)
    validations.checkValidations(data, types, custom, store)
    if (kind === 'ConditionCheck' && !data.ConditionExpression) {
      throw db.validationError("The parameter 'ConditionExpression' is required but was not present in the request")
    }
    const table = await promised((cb) => store.getTable(data.TableName, cb))
    const invalid = db.validateKey(keyOf(data[key], table), table)
    if (invalid) throw invalid
    const name = itemName(data, data[key], table)
    if (names.has(name)) {
      throw db.validationError('Transaction request cannot include multiple operations on one item')
    }
    names.add(name)
    all.push({ kind, operation, data, name, key: db.createKey(data[key], table) })
  }
  if (new Set(all.map(({ data }) => data.TableName)).size > 1) {
    throw db.validationError('transactions over several tables are not supported by this server')
  }
  return all
}

const canceled = (reasons) => failure('TransactionCanceledException',
  `Transaction cancelled, please refer cancellation reasons for specific reasons [${reasons.map((r) => r.Code).join(', ')}]`,
  { CancellationReasons: reasons })

function reasonOf (err) {
  if (!err) return { Code: 'None' }
  if (!err.statusCode) throw err
  const code = err.body.__type.split('#')[1].replace('Exception', '')
  return { Code: code === 'Validation' ? 'ValidationError' : code, Message: err.body.message, Item: err.body.Item }
}

// exclusively runs f while the transaction holds its items.
async function exclusively (store, all, f) {
  const reasons = all.map(({ name }) => reasonOf(held.has(name) ? conflict() : null))
  if (reasons.some((r) => r.Code !== 'None')) throw canceled(reasons)
  all.forEach(({ name }) => held.add(name))
  const itemDb = store.getItemDb(all[0].data.TableName)
  try {
    return await promised((cb) => itemDb.lock(all.map(({ key }) => key), (release) => f().then(
      (value) => release(cb)(null, value), (err) => release(cb)(err))))
  } finally {
    all.forEach(({ name }) => held.delete(name))
  }
}

// perform runs each action, noting its writes, and cancels if one fails.
async function perform (store, all) {
  const writes = []
  const answers = []
  const reasons = []
  for (const { kind, operation, data } of all) {
    const into = kind === 'ConditionCheck' ? [] : writes
    await promised((cb) => actions[operation](noting(store, into), data, (err, answer) => {
      reasons.push(reasonOf(err))
      answers.push(answer)
      cb()
    }))
  }
  if (reasons.some((r) => r.Code !== 'None')) throw canceled(reasons)
  if (writes.reduce((sum, { op }) => sum + (op.value ? db.itemSize(op.value) : 0), 0) > MAX_BYTES) {
    throw db.validationError('Collection size exceeded: a transaction writes at most 4 MB')
  }
  return { writes, answers }
}

async function commit (writes) {
  const batches = new Map()
  for (const { real, op } of writes) batches.set(real, [...(batches.get(real) || []), op])
  for (const [real, ops] of batches) await promised((cb) => real.batch(ops, cb))
}

// capacity is twice that of the single operations.
function capacity (request, all, answers, units) {
  if (!['TOTAL', 'INDEXES'].includes(request.ReturnConsumedCapacity)) return {}
  const sum = 2 * answers.reduce((total, a) => total + a.ConsumedCapacity.CapacityUnits, 0)
  return { ConsumedCapacity: [{ TableName: all[0].data.TableName, CapacityUnits: sum, [units]: sum }] }
}

// Tokens of transactions: one that was applied is not applied again.
const tokens = new Map()

// sorted has an object's members in one order, whichever a client sent them in.
const sorted = (_, v) => (v && typeof v === 'object' && !Array.isArray(v)
  ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
  : v)

async function once (request, run) {
  const { ClientRequestToken: token, ReturnConsumedCapacity, ...rest } = request
  if (!token) return run()
  for (const [t, { until }] of tokens) if (until < Date.now()) tokens.delete(t)
  const known = tokens.get(token)
  const asked = JSON.stringify(rest, sorted)
  if (known && known.asked !== asked) {
    throw failure('IdempotentParameterMismatchException', 'Request for the given ClientRequestToken has different parameters')
  }
  if (known && !known.answer) throw failure('TransactionInProgressException', 'Transaction token in use')
  if (known) return known.answer
  const mine = { asked, until: Date.now() + TOKEN_MS }
  tokens.set(token, mine)
  try {
    mine.answer = await run()
  } catch (err) {
    tokens.delete(token)
    throw err
  }
  return mine.answer
}

const transactions = (store) => ({
  TransactWriteItems: (request) => once(request, async () => {
    const all = await read(store, request, ['Put', 'Update', 'Delete', 'ConditionCheck'])
    return exclusively(store, all, async () => {
      const { writes, answers } = await perform(store, all)
      await commit(writes)
      return capacity(request, all, answers, 'WriteCapacityUnits')
    })
  }),
  TransactGetItems: async (request) => {
    const all = await read(store, request, ['Get'])
    for (const { data } of all) data.ConsistentRead = true
    return exclusively(store, all, async () => {
      const { answers } = await perform(store, all)
      return {
        Responses: answers.map(({ Item }) => (Item ? { Item } : {})),
        ...capacity(request, all, answers, 'ReadCapacityUnits'),
      }
    })
  },
  HoldItems: async ({ TableName, Keys, Milliseconds }) => {
    const table = await promised((cb) => store.getTable(TableName, cb))
    const names = Keys.map((key) => itemName({ TableName }, key, table))
    names.forEach((name) => held.add(name))
    setTimeout(() => names.forEach((name) => held.delete(name)), Milliseconds)
    return {}
  },
})
