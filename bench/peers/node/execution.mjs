// Peer of the execution bench: mercurius on fastify with its JIT on. Its loaders work inside a
// request only, so the batched list is not here.
// Subscriptions are executed by graphql-js, as mercurius and graphql-ws do. Argument: a file with documents and data.

import { readFileSync } from 'node:fs'
import Fastify from 'fastify'
import { parse, subscribe } from 'graphql'
import mercurius from 'mercurius'
import { repeated, serve } from './worker.mjs'

const { sdl, documents, orders, events } = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const bytes = (uuid) => Buffer.from(uuid.replaceAll('-', ''), 'hex')
for (const order of orders) order.key = bytes(order.key)
for (const store of new Set(orders.map((order) => order.store))) store.key = bytes(store.key)
for (const order of orders) for (const line of order.lines) line.currency = order.currency
const byId = new Map(orders.map((order) => [order.id, order]))
const total = (root) => ({ amount: root.total, currency: root.currency })

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
/** The public id of a key of 16 bytes: 26 characters of 5 bits, two zero bits in front. */
function encode (prefix, key) {
  let text = prefix + '_'
  let held = 0
  let bits = 2
  for (const byte of key) {
    held = (held << 8 | byte) & 0xfff
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += ALPHABET[held >> bits & 31]
    }
  }
  return text
}

async function * changes (times) {
  for (let n = 0; n < times; n++) yield { orderChanged: events[n % events.length] }
}

const app = Fastify()
await app.register(mercurius, {
  schema: sdl,
  jit: 1,
  resolvers: {
    Query: {
      orders: (_, { first }) => orders.slice(0, first),
      order: (_, { id }) => byId.get(id) ?? null
    },
    Order: { total, publicId: (root) => encode('ord', root.key) },
    Store: { publicId: (root) => encode('sto', root.key) },
    OrderLine: { total },
    Subscription: { orderChanged: { subscribe: (_, args, { times }) => changes(times) } }
  },
  subscription: true
})
await app.ready()

async function respond (document, variables) {
  const result = await app.graphql(document, {}, variables)
  if (result.errors) throw result.errors[0]
  return Buffer.from(JSON.stringify(result))
}

const event = parse(documents.event)
async function eventsOf (times) {
  let first
  const stream = await subscribe({ schema: app.graphql.schema, document: event, contextValue: { times } })
  for await (const result of stream) {
    const answer = Buffer.from(JSON.stringify(result))
    first ??= answer
  }
  return first
}

await serve({
  one: repeated(() => respond(documents.one, { id: orders[7].id })),
  list20: repeated(() => respond(documents.list, { first: 20 })),
  list1000: repeated(() => respond(documents.list, { first: 1000 })),
  encoded20: repeated(() => respond(documents.encoded, { first: 20 })),
  event: eventsOf
})
process.exit(0)
