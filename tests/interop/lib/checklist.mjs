// What an app does with aoconnect, as a list of checks that hold whichever nodes do the work: the same
// list is run against one node and against a mesh.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { ask, connectTo, graphql, keys, person, signerOf, tag, until } from './gateway.mjs'

const require = createRequire(import.meta.url)
const bundles = require('@dha-team/arbundles')

const evaluate = [{ name: 'Action', value: 'Eval' }]

let someone
/** Who owns all of them: a wallet takes seconds to make. */
const owner = () => (someone ??= person())

/** One app: `gateway` is where it is pointed, `place` says who schedules and computes. */
export async function app(version, gateway, place) {
  const { ao, createDataItemSigner } = await connectTo(version, gateway)
  const { jwk, address } = owner()
  const signer = createDataItemSigner(jwk)
  const tags = [...place.tags, { name: 'Authority', value: 'fcoN_xJeisVsPXA-trzVAuIiqO3ydLQxM-L4XbrQKzY' }]
  const spawn = async (name, more = []) => {
    const all = [{ name: 'Name', value: name }, ...tags, ...more]
    const id = await ao.spawn({ module: place.module, scheduler: place.scheduler, signer, tags: all })
    await place.spawned?.(id)
    return id
  }
  const send = (process, data, tags = [], by = signer) => ao.message({ process, signer: by, tags, data })
  const run = async (process, data) => {
    const message = await send(process, data, evaluate)
    return { message, ...(await ao.result({ process, message })) }
  }
  return { version, gateway, place, ao, signer, address, ownerOf: createDataItemSigner, spawn, send, run }
}

const output = (result) => {
  assert.equal(result.Error, undefined, result.Error)
  const data = result.Output?.data
  return String(data?.output ?? data)
}

/** Spawns, evaluates, keeps state, and gives the same result again. */
async function life(app) {
  const process = await app.spawn(`life ${app.version}`)
  assert.match(process, /^[\w-]{43}$/)
  const first = await app.run(process, 'Count = (Count or 0) + 1 return Count')
  assert.equal(output(first), '1')
  const second = await app.run(process, 'Count = (Count or 0) + 1 return Count')
  assert.equal(output(second), '2')
  const again = await app.ao.result({ process, message: first.message })
  assert.equal(output(again), '1')
  // The process itself is message 0.
  const boot = await app.ao.result({ process, message: process })
  assert.equal(boot.Error, undefined)
  return process
}

/** An error is text with status 200, and what it did is undone. */
async function errors(app, process) {
  await app.run(process, 'Kept = 1')
  const failed = await app.run(process, 'Kept = 2 error("on purpose")')
  assert.match(String(failed.Error ?? failed.Output?.data ?? ''), /on purpose/)
  assert.equal(output(await app.run(process, 'return Kept')), '1')
}

/** Texts of every kind arrive as they were sent. */
async function texts(app, process) {
  const data = 'gr\u00fc\u00df dich \u4f60\u597d \u{1f9f5} "quoted" \\ \n'
  await app.run(process, `Handlers.add("echo", "Echo", function (msg) Heard = { msg.Data, msg.Tags.Word, msg.From, msg.Id } end)`)
  const tags = [{ name: 'Action', value: 'Echo' }, { name: 'Word', value: '\u00e4\u{1f9f5}' }]
  const message = await app.send(process, data, tags)
  await app.ao.result({ process, message })
  const heard = await app.run(process, 'return table.concat(Heard, "|")')
  assert.equal(output(heard), [data, '\u00e4\u{1f9f5}', app.address, message].join('|'))
}

/** Ten at once all run, once each, and every one has its own result. */
async function crowd(app, process) {
  await app.run(process, 'Seen = {}')
  const numbers = Array.from({ length: 10 }, (_, at) => at)
  const sent = await Promise.all(numbers.map((at) => app.send(process, `table.insert(Seen, ${at}) return "mine ${at}"`, evaluate)))
  const results = await Promise.all(sent.map((message) => app.ao.result({ process, message })))
  assert.deepEqual(results.map(output), numbers.map((at) => `mine ${at}`))
  const seen = output(await app.run(process, 'table.sort(Seen) return table.concat(Seen, ",")'))
  assert.equal(seen, numbers.join(','))
}

/** A dry run shows what would be, and changes nothing. */
async function dryRuns(app, process) {
  await app.run(process, 'Dry = 1 Handlers.add("dry", "Dry", function (msg) Dry = Dry + 1 msg.reply({ Data = tostring(Dry), From2 = msg.From }) end)')
  const ask = { process, tags: [{ name: 'Action', value: 'Dry' }], data: 'x', Owner: app.address }
  const results = await Promise.all(Array.from({ length: 20 }, () => app.ao.dryrun(ask)))
  for (const result of results) {
    assert.equal(result.Messages.length, 1, JSON.stringify(result).slice(0, 500))
    assert.equal(result.Messages[0].Data, '2')
  }
  assert.equal(output(await app.run(process, 'return Dry')), '1')
}

/** Pages of results go on from their cursors, as the live feed of aos does. */
async function results(app, process) {
  const sent = []
  for (let at = 0; at < 4; at += 1) sent.push((await app.run(process, `return "page ${at}"`)).message)
  const newest = await app.ao.results({ process, sort: 'DESC', limit: 2 })
  assert.deepEqual(newest.edges.map(({ node }) => output(node)), ['page 3', 'page 2'])
  const cursor = newest.edges[1].cursor
  assert.ok(JSON.parse(atob(cursor)).ordinate !== undefined)
  const url = `/results/${process}?from=${encodeURIComponent(cursor)}&sort=ASC&limit=1000`
  // The order of the cursor wins, and it is a lower limit in either order, as in the reference.
  const page = await ask(app.gateway, url)
  assert.equal(page.status, 200)
  assert.equal(page.json.pageInfo.hasNextPage, false)
  assert.deepEqual(page.json.edges.map(({ node }) => output(node)), ['page 3'])
  const between = await ask(app.gateway, `/results/${process}?sort=DESC&to=${encodeURIComponent(newest.edges[1].cursor)}&limit=1`)
  assert.deepEqual(between.json.edges.map(({ node }) => output(node)), ['page 2'])
  const after = await app.ao.results({ process, from: String(JSON.parse(atob(cursor)).timestamp), sort: 'ASC' })
  assert.ok(after.edges.map(({ node }) => output(node)).includes('page 3'))
}

/** An existing item gets a slot in another process, and the assignment has a result. */
async function assign(app, process) {
  if (Number(app.version) < 53) return
  const other = await app.spawn(`other ${app.version}`)
  await app.run(other, 'ao.addAssignable("all", function () return true end) Handlers.add("assigned", "Given", function (msg) Given = msg.Data end)')
  const item = await app.send(process, 'given', [{ name: 'Action', value: 'Given' }])
  const id = await app.ao.assign({ process: other, message: item })
  assert.match(id, /^[\w-]{43}$/)
  const result = await app.ao.result({ process: other, message: id })
  assert.equal(result.Error, undefined)
  assert.equal(output(await app.run(other, 'return Given')), 'given')
  const half = await ask(app.gateway, `/?process-id=${other}`, { method: 'POST' })
  assert.equal(half.status, 400)
  assert.match(half.json.error, /You must set both process-id and assign/)
}

/** One process writes to another, which knows whom it is from. */
async function pushes(app) {
  const a = await app.spawn(`ping ${app.version}`)
  const b = await app.spawn(`pong ${app.version}`)
  await app.run(b, 'Handlers.add("ping", "Ping", function (msg) Pinged = msg.From msg.reply({ Action = "Pong" }) end)')
  await app.run(a, 'Handlers.add("pong", "Pong", function (msg) Ponged = msg.From end)')
  const sent = await app.run(a, `Send({ Target = "${b}", Action = "Ping" }) return "sent"`)
  assert.equal(sent.Messages.length, 1)
  assert.equal(sent.Messages[0].Target, b)
  await until('the answer of the other process', async () => output(await app.run(a, 'return tostring(Ponged)')) === b)
  assert.equal(output(await app.run(b, 'return tostring(Pinged)')), a)
}

/** Items of other chains are as good. */
async function chains(app, process) {
  await app.run(process, 'Handlers.add("who", "Who", function (msg) Who = msg.From end)')
  for (const { name, signer, owner } of keys()) {
    const message = await app.send(process, name, [{ name: 'Action', value: 'Who' }], signerOf(app.version, signer))
    await app.ao.result({ process, message })
    assert.equal(output(await app.run(process, 'return Who')), owner, name)
  }
}

/** A process that is written to another one gets a slot there too. */
async function targets(app, process) {
  const { signer } = keys()[0]
  const tags = { 'Data-Protocol': 'ao', Variant: 'ao.TN.1', Type: 'Process', Module: app.place.module, Scheduler: app.place.scheduler }
  const all = [...Object.entries(tags).map(([name, value]) => ({ name, value })), ...app.place.tags]
  const item = bundles.createData(`for ${app.version}`, signer, { tags: all, target: process })
  await item.sign(signer)
  const sent = await ask(app.gateway, '/', { method: 'POST', body: item.getRaw() })
  assert.equal(sent.status, 202, sent.text)
  assert.deepEqual(sent.json, { message: 'Processing DataItem', id: item.id, processId: item.id })
  const { json: assigned } = await ask(app.gateway, `/${item.id}?process-id=${process}`)
  assert.equal(tag(assigned.assignment.tags, 'Message'), item.id)
  // The same item again is the same slot.
  const again = await ask(app.gateway, '/', { method: 'POST', body: item.getRaw() })
  assert.deepEqual([again.status, again.json.id], [202, item.id])
  const broken = Buffer.from(item.getRaw())
  broken[100] ^= 1
  const refused = await ask(app.gateway, '/', { method: 'POST', body: broken })
  assert.equal(refused.status, 400)
}

/** Monitoring takes a signed item, and an unsigned one is refused. */
async function monitors(app, process) {
  assert.match(await app.ao.monitor({ process, signer: app.signer }), /^[\w-]{43}$/)
  assert.match(await app.ao.unmonitor({ process, signer: app.signer }), /^[\w-]{43}$/)
  const refused = await ask(app.gateway, `/monitor/${process}`, { method: 'POST', body: 'nothing' })
  assert.equal(refused.status, 400)
}

/** The log, as the scheduler unit gives it. */
async function log(app, process) {
  const { message } = await app.run(process, 'return "logged"')
  const { json: one, status } = await ask(app.gateway, `/${message}?process-id=${process}`)
  assert.equal(status, 200)
  assert.equal(one.message.id, message)
  const nonce = Number(tag(one.assignment.tags, 'Nonce'))
  const { json: latest } = await ask(app.gateway, `/${process}/latest`)
  assert.equal(latest.message.id, message)
  const { json: page } = await ask(app.gateway, `/${process}?process-id=${process}&limit=1000`)
  assert.equal(page.edges.length, nonce + 1)
  assert.equal(page.edges[0].node.message.id, process)
  const nonces = page.edges.map(({ node }) => Number(tag(node.assignment.tags, 'Nonce')))
  assert.deepEqual(nonces, nonces.map((_, at) => at))
  const { json: part } = await ask(app.gateway, `/${process}?from-nonce=0&to-nonce=2`)
  assert.deepEqual(part.edges.map(({ cursor }) => cursor), ['1', '2'])
  const { json: info } = await ask(app.gateway, `/processes/${process}`)
  assert.equal(info.process_id, process)
}

/** What the weave's gateway knows: at once, by id and by owner and name, with every query that clients send. */
async function weave(app, process) {
  const byId = 'query GetTransactions ($transactionIds: [ID!]!) { transactions(ids: $transactionIds) { edges { node { owner { address } tags { name value } block { id height timestamp } } } } }'
  const module = await graphql(app.gateway, byId, { transactionIds: [app.place.module] })
  assert.equal(tag(module.transactions.edges[0].node.tags, 'Type'), 'Module')
  const found = await graphql(app.gateway, byId, { transactionIds: [process] })
  assert.equal(found.transactions.edges[0].node.owner.address, app.address)
  const none = await graphql(app.gateway, byId, { transactionIds: ['x'.repeat(42) + 'A'] })
  assert.deepEqual(none.transactions.edges, [])
  const byName = `query ($owners: [String!]!) { transactions( first: 10, owners: $owners, tags: [ { name: "Data-Protocol", values: ["ao"] }, { name: "Type", values: ["Process"]}, { name: "Name", values: ["life ${app.version}"]} ] ) { edges { node { id tags { name value } } } } }`
  const named = await graphql(app.gateway, byName, { owners: [app.address, ''] })
  assert.deepEqual(named.transactions.edges.map(({ node }) => node.id), [process])
  const location = `query GetSchedulerLocation ($owner: String!) {
    transactions (owners: [$owner] tags: [ { name: "Data-Protocol", values: ["ao"] }, { name: "Type", values: ["Scheduler-Location"] } ]
    # Only need the most recent Scheduler-Location
    sort: HEIGHT_DESC first: 1 ) { edges { node { tags { name value } } } } }`
  const at = await graphql(app.gateway, location, { owner: app.place.scheduler })
  assert.equal(tag(at.transactions.edges[0].node.tags, 'Url'), app.gateway)
  const headers = 'query GetProcesses ($processIds: [ID!]! $skipTags: Boolean! $skipSignature: Boolean! $skipAnchor: Boolean!) { transactions(ids: $processIds) { edges { node { id signature @skip (if: $skipSignature) anchor @skip (if: $skipAnchor) owner { address key } tags @skip (if: $skipTags) { name value } recipient } } } }'
  const skipped = await graphql(app.gateway, headers, { processIds: [process], skipTags: true, skipSignature: false, skipAnchor: false })
  const { node } = skipped.transactions.edges[0]
  assert.ok(node.signature.length > 80 && node.tags === undefined && node.owner.key.length > 80)
  const blocks = 'query GetBlocks ($min: Int!, $limit: Int!) { blocks(height: { min: $min }, first: $limit, sort: HEIGHT_ASC) { pageInfo { hasNextPage } edges { node { timestamp height } } } }'
  const { height } = (await ask(app.gateway, '/info')).json
  const { blocks: two } = await graphql(app.gateway, blocks, { min: height - 1, limit: 2 })
  assert.deepEqual(two.edges.map(({ node }) => node.height), [height - 1, height])
  const raw = await fetch(`${app.gateway}/raw/${app.place.module}`)
  assert.equal(raw.headers.get('content-type'), 'application/wasm')
  assert.equal(Buffer.from(await raw.arrayBuffer()).subarray(0, 4).toString('latin1'), '\0asm')
  const { json: tx } = await ask(app.gateway, `/tx/${process}`)
  assert.equal(tx.id, process)
}

/** Errors are JSON, come soon, and say what is wrong. */
async function refusals(app, process) {
  const unknown = 'q'.repeat(42) + 'A'
  const cases = [
    [`/result/${unknown}?process-id=${process}`, undefined, 404],
    [`/result/${process}?process-id=${unknown}`, undefined, 404],
    ['/result/short?process-id=short', undefined, 400],
    [`/results/${unknown}`, undefined, 404],
    [`/dry-run?process-id=${process}`, { method: 'POST', body: 'no json' }, 400],
    [`/dry-run?process-id=${process}`, { method: 'POST', body: '{"Tags":[]}' }, 400],
    ['/', { method: 'POST', body: 'garbage' }, 400],
    ['/', { method: 'POST' }, 400],
    ['/graphql', { method: 'POST', body: '{}' }, 400],
    ['/nothing/here', undefined, 404],
    [`//raw//${unknown}`, undefined, 404],
  ]
  for (const [path, options, status] of cases) {
    const began = Date.now()
    const answer = await ask(app.gateway, path, options)
    assert.equal(answer.status, status, `${path}: ${answer.text}`)
    assert.equal(answer.headers.get('content-type'), 'application/json', path)
    assert.ok(typeof answer.json.error === 'string' && answer.json.error !== '', path)
    // The scheduler says at once that there is no such message; a process may be with a peer that is slow.
    const most = path === cases[0][0] ? 10_000 : 30_000
    assert.ok(Date.now() - began < most, `${path} took ${Date.now() - began} ms`)
  }
}

/** Every check: its name, what it does, and whether it has a process of its own. */
export const checks = { errors, texts, crowd, dryRuns, results, assign, chains, targets, monitors, log, weave, refusals }
export { life, pushes }
