// A DynamoDB on a free port of the loopback, in memory: dynalite, and the
// things of DynamoDB that it lacks and the product uses; transactions.js comes
// before this. Says its port on the first line of its output, and ends when its
// input does, so that it never outlives the test process that started it.

const updateItem = require('dynalite/validations/updateItem')
const putItem = require('dynalite/validations/putItem')
const deleteItem = require('dynalite/validations/deleteItem')

// ReturnValuesOnConditionCheckFailure: a false condition returns the item.
for (const { types } of [updateItem, putItem, deleteItem]) {
  types.ReturnValuesOnConditionCheckFailure = { type: 'String', enum: ['ALL_OLD', 'NONE'] }
}
const check = db.checkConditional
db.checkConditional = (request, item) => {
  const refused = check(request, item)
  if (refused && item && request.ReturnValuesOnConditionCheckFailure === 'ALL_OLD') {
    refused.body.Item = item
  }
  return refused
}

// UpdateTimeToLive, and DescribeTimeToLive that knows of it. Nothing expires:
// DynamoDB itself promises no more than to remove an item some day.
const expiring = new Map() // table -> attribute
const timeToLive = {
  UpdateTimeToLive: ({ TableName, TimeToLiveSpecification: spec }) => {
    if (spec.Enabled) expiring.set(TableName, spec.AttributeName)
    else expiring.delete(TableName)
    return { TimeToLiveSpecification: spec }
  },
  DescribeTimeToLive: ({ TableName }) => ({
    TimeToLiveDescription: expiring.has(TableName)
      ? { TimeToLiveStatus: 'ENABLED', AttributeName: expiring.get(TableName) }
      : { TimeToLiveStatus: 'DISABLED' },
  }),
}

// dynalite keeps its store to itself; this is where it is made.
let store
const create = db.create
db.create = (options) => (store = create(options))
const server = require('dynalite')({ createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 })
const added = { ...timeToLive, ...transactions(store) }

const [serve] = server.listeners('request')
server.removeAllListeners('request')
server.on('request', (request, response) => {
  const name = (request.headers['x-amz-target'] || '').split('.')[1]
  const answer = added[name]
  if (!answer) return serve(request, response)
  const parts = []
  request.on('data', (part) => parts.push(part))
  request.on('end', async () => {
    response.setHeader('Content-Type', 'application/x-amz-json-1.0')
    try {
      response.end(JSON.stringify(await answer(JSON.parse(Buffer.concat(parts)))))
    } catch (err) {
      response.statusCode = err.statusCode || 500
      response.end(JSON.stringify(err.body || { message: err.stack }))
    }
  })
})
// Longer than any client keeps an idle connection, as DynamoDB's own.
server.keepAliveTimeout = 300_000

server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`))
process.stdin.on('end', () => process.exit(0)).resume()
