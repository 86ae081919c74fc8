// A DynamoDB on a free port of the loopback, in memory: dynalite, and the two
// things of DynamoDB that it lacks and the product uses. Says its port on the
// first line of its output, and ends when its input does, so that it never
// outlives the test process that started it.
'use strict'

const dynalite = require('dynalite')
const db = require('dynalite/db')
const update = require('dynalite/validations/updateItem')
const put = require('dynalite/validations/putItem')

// ReturnValuesOnConditionCheckFailure: a false condition returns the item.
for (const { types } of [update, put]) {
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

const server = dynalite({ createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 })
const [serve] = server.listeners('request')
server.removeAllListeners('request')
server.on('request', (request, response) => {
  const name = (request.headers['x-amz-target'] || '').split('.')[1]
  const answer = timeToLive[name]
  if (!answer) return serve(request, response)
  const parts = []
  request.on('data', (part) => parts.push(part))
  request.on('end', () => {
    response.setHeader('Content-Type', 'application/x-amz-json-1.0')
    response.end(JSON.stringify(answer(JSON.parse(Buffer.concat(parts)))))
  })
})
// Longer than any client keeps an idle connection, as DynamoDB's own.
server.keepAliveTimeout = 300_000

server.listen(0, '127.0.0.1', () => process.stdout.write(`${server.address().port}\n`))
process.stdin.on('end', () => process.exit(0)).resume()
