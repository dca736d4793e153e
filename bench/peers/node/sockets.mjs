// Peer of the realtime bench: graphql-ws on ws, as its documentation has it, without compression.
// Orders are in memory, and POST /publish with a list of feed numbers sends the next event of each.

import { createServer } from 'node:http'
import { buildSchema } from 'graphql'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocketServer } from 'ws'

const schema = buildSchema(`
  scalar Int64
  type Money { amount: Int64! currency: String! }
  type Order {
    id: ID! number: String! state: String! version: Int! mode: String! note: String! placedAt: String! total: Money!
  }
  type OrderUpdate { cursor: String! order: Order! }
  type Query { ok: Boolean! }
  type Subscription { orderUpdates(order: ID!): OrderUpdate! }
`)

const orders = new Map()
const watchers = new Map()

function orderOf (feed) {
  let order = orders.get(feed)
  if (order === undefined) {
    order = {
      id: `ord_01m865h66kf6p8x1eb0${feed.padStart(7, '0')}`,
      number: feed.padStart(6, '0'),
      state: 'PREPARING',
      version: 1,
      mode: 'DELIVERY',
      note: '',
      placedAt: '2026-03-02T04:00:00Z',
      total: { amount: 6900, currency: 'CNY' }
    }
    orders.set(feed, order)
  }
  return order
}

const updateOf = (order) =>
  ({ orderUpdates: { cursor: `3f9c2a71.${order.version.toString(16)}.8d0e4b12`, order } })

function publish (feed) {
  const known = orderOf(feed)
  const order = { ...known, version: known.version + 1 }
  orders.set(feed, order)
  const update = updateOf(order)
  for (const watcher of watchers.get(feed) ?? []) watcher.push(update)
}

/** The updates of one order for one subscriber: what it is now, then each event. */
function follow (feed) {
  const queue = [updateOf(orderOf(feed))]
  let wake = null
  const watcher = {
    push (update) {
      queue.push(update)
      wake?.()
    }
  }
  if (!watchers.has(feed)) watchers.set(feed, new Set())
  watchers.get(feed).add(watcher)
  return {
    async next () {
      while (queue.length === 0) await new Promise((resolve) => { wake = resolve })
      return { done: false, value: queue.shift() }
    },
    async return () {
      watchers.get(feed).delete(watcher)
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator] () { return this }
  }
}

const http = createServer((request, response) => {
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => {
    for (const feed of JSON.parse(Buffer.concat(chunks).toString())) publish(String(feed))
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': 2 })
    response.end('{}')
  })
})
const sockets = new WebSocketServer({ server: http, path: '/graphql', perMessageDeflate: false })
useServer({ schema, roots: { subscription: { orderUpdates: ({ order }) => follow(order) } } }, sockets)
http.listen({ host: '127.0.0.1', port: 0, backlog: 4096 }, () => {
  console.log(JSON.stringify({ port: http.address().port }))
})
