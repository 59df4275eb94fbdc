// The wire sequence of the aos terminal against one node and the real aos module: its start-up queries, the
// spawn, lines that are typed, an error with its line, and the live feed from another client.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { ask, connectTo, graphql, person, startGateway, until } from './lib/gateway.mjs'
import { modules } from './lib/modules.mjs'

/** What a test may take, on a machine with other work. */
const timeout = 300_000
const [aos] = modules

let node, module
before(async () => {
  node = await startGateway()
  const added = await node.weft('module', 'add', aos.file, '--format', aos.format)
  module = added.module
}, { timeout })
after(() => node?.stop(), { timeout })

test('a session of the aos terminal', { timeout }, async () => {
  const { ao, createDataItemSigner } = await connectTo('98', node.url)
  const { jwk, address } = person()
  const signer = createDataItemSigner(jwk)
  const byName = 'query ($owners: [String!]!) { transactions( first: 10, owners: $owners, tags: [ { name: "Data-Protocol", values: ["ao"] }, { name: "Type", values: ["Process"]}, { name: "Name", values: ["session"]} ] ) { edges { node { id tags { name value } } } } }'
  const before = await graphql(node.url, byName, { owners: [address, ''] })
  assert.deepEqual(before.transactions.edges, [])
  const tags = [
    { name: 'App-Name', value: 'aos' },
    { name: 'Name', value: 'session' },
    { name: 'Authority', value: 'fcoN_xJeisVsPXA-trzVAuIiqO3ydLQxM-L4XbrQKzY' },
    { name: 'aos-Version', value: '2.0.16' },
  ]
  const process = await ao.spawn({ module, scheduler: node.ready.address, signer, tags, data: '' })
  const after = await graphql(node.url, byName, { owners: [address, ''] })
  assert.deepEqual(after.transactions.edges.map(({ node }) => node.id), [process])
  const line = async (data) => {
    const message = await ao.message({ process, signer, tags: [{ name: 'Action', value: 'Eval' }], data })
    return ao.result({ process, message })
  }
  const version = await line("require('.process')._version")
  assert.match(version.Output.prompt ?? version.Output.data.prompt, /> $|>$/)
  assert.equal((await line('1 + 41')).Output.data.output ?? (await line('1 + 41')).Output.data, '42')
  // A program of several modules in one text, as `.load` bundles it.
  const bundle = `
    local function load_one() local M = {} function M.double(x) return 2 * x end return M end
    _G.package.loaded[".one"] = load_one()
    local one = require(".one")
    Doubled = one.double(21)
    return Doubled`
  assert.match(JSON.stringify((await line(bundle)).Output), /42/)
  const failed = await line('local a = 1\nlocal b = nil\nreturn a + b')
  assert.match(failed.Error ?? JSON.stringify(failed.Output), /:3:/, 'the line of the error')

  // The live feed, as the terminal asks for it every two seconds: the newest five, then what comes after the
  // cursor of the last of them, in whatever order that says; each line once, in the order of the ordinates.
  let cursor
  const shown = new Map()
  const ordinate = (edge) => Number(JSON.parse(atob(edge.cursor)).ordinate)
  const poll = async () => {
    const query = cursor === undefined ? 'sort=DESC&limit=5' : `from=${encodeURIComponent(cursor)}&sort=ASC&limit=1000`
    const { edges } = (await ask(node.url, `/results/${process}?${query}`)).json
    for (const edge of edges.filter(({ node }) => node.Output.print === true)) shown.set(edge.cursor, edge)
    cursor = edges.at(-1)?.cursor ?? cursor
    return [...shown.values()].sort((a, b) => ordinate(a) - ordinate(b)).map(({ node }) => node.Output)
  }
  await poll()
  assert.ok(Number.isInteger(ordinate({ cursor })))
  const other = person()
  const stranger = createDataItemSigner(other.jwk)
  for (const greeting of ['hello', 'again']) {
    await ao.message({ process, signer: stranger, tags: [{ name: 'Action', value: 'Greet' }], data: greeting })
  }
  const greetings = (outputs) => outputs.filter(({ data }) => String(data).includes('Greet'))
  const heard = await until('the greetings in the feed', async () => {
    const outputs = greetings(await poll())
    return outputs.length >= 2 && outputs
  })
  assert.equal(heard.length, 2)
  assert.match(heard[0].data, new RegExp(`New Message From.*${other.address.slice(0, 3)}`, 's'))
  assert.ok(heard.every(({ prompt }) => prompt.includes('Inbox')))
  await poll()
  assert.equal(greetings(await poll()).length, 2, 'nothing is shown twice')
  const dry = await ao.dryrun({ process, data: '#Inbox', tags: [{ name: 'Action', value: 'Eval' }], Owner: address })
  const inbox = String(dry.Output.data.output ?? dry.Output.data).replaceAll(/\u001b\[\d+m/g, '')
  assert.match(inbox, /^[1-9]\d*$/)
  assert.equal((await line('#Inbox')).Error, undefined)
})
