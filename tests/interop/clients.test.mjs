// The real @permaweb/aoconnect, four lines of it, against one node: what apps do with it, item by item.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { app, checks, life, pushes } from './lib/checklist.mjs'
import { ask, person, startGateway, until, versions } from './lib/gateway.mjs'
import { mainnet } from './lib/mainnet.mjs'
import { more } from './lib/more-checks.mjs'
import { temporaryFolder } from './lib/run.mjs'

/** What a test may take, on a machine with other work. */
const timeout = 300_000

/** Every check of the list, by its name. */
const names = [
  'errors', 'texts', 'crowd', 'dryRuns', 'results', 'assign', 'chains', 'targets', 'monitors', 'log', 'weave', 'refusals',
]

let node, place
before(async () => {
  node = await startGateway(['--gateway-cors', 'http://app.example'])
  const [module] = await node.weft('module', 'list')
  place = { module: module.module, scheduler: node.ready.address, tags: [] }
}, { timeout })
after(() => node?.stop(), { timeout })

for (const version of versions) {
  test(`aoconnect 0.0.${version} and one node`, { timeout }, async (t) => {
    const client = await app(version, node.url, place)
    let process
    await t.test('a process lives', async () => { process = await life(client) })
    if (process === undefined) return
    for (const name of names) await t.test(name, () => checks[name](client, process))
    await t.test('pushes', () => pushes(client))
  })
}

test('every check of the list is run', () => assert.deepEqual(names, Object.keys(checks)))

test('a page of an allowed origin may, others may not', { timeout }, async () => {
  const page = (origin, more = {}) => ask(node.url, '/info', { headers: { origin, ...more } })
  const own = await page('http://app.example')
  assert.equal(own.status, 200)
  assert.equal(own.headers.get('access-control-allow-origin'), 'http://app.example')
  const wrong = await ask(node.url, '/result/short', { headers: { origin: 'http://app.example' } })
  assert.equal(wrong.headers.get('access-control-allow-origin'), 'http://app.example', 'errors can be read too')
  const foreign = await page('https://evil.example')
  assert.equal(foreign.status, 403)
  assert.match(foreign.json.error, /gateway_cors/)
  const preflight = await fetch(`${node.url}/`, { method: 'OPTIONS', headers: { origin: 'http://app.example', 'access-control-request-method': 'POST' } })
  assert.equal(preflight.status, 204)
  assert.match(preflight.headers.get('access-control-allow-methods'), /DELETE/)
  assert.match(preflight.headers.get('access-control-allow-headers'), /content-type/)
})

/** The client of the README, word for word: its indented lines from the first import on. */
function readmeClient() {
  const page = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
  const [client] = page.slice(page.indexOf("    import { readFileSync } from 'node:fs'")).split('\n\n')
  return client.split('\n').map((line) => line.slice(4))
}

for (const version of versions) {
  test(`the client of the README, with aoconnect 0.0.${version}`, { timeout }, async () => {
    const { connect, createDataItemSigner } = await import(`aoconnect-${version}`)
    const client = readmeClient()
    const isImport = (line) => line.startsWith('import ')
    assert.deepEqual(client.filter(isImport).map((line) => line.match(/'(.*)'/)[1]), ['node:fs', '@permaweb/aoconnect'])
    const body = client.filter((line) => !isImport(line)).join('\n')
    assert.ok(body.includes("'http://127.0.0.1:4004'"), body)
    const wallet = JSON.stringify(person().jwk)
    const given = {
      connect, createDataItemSigner, MODULE: place.module, ADDRESS: place.scheduler,
      readFileSync: (name) => name === 'wallet.json' ? wallet : assert.fail(name),
    }
    const shown = []
    const AsyncFunction = (async () => {}).constructor
    const run = new AsyncFunction(...Object.keys(given), 'console', body.replace('http://127.0.0.1:4004', node.url))
    await run(...Object.values(given), { log: (result) => shown.push(result) })
    assert.deepEqual(shown.map(({ Output }) => Output.data.output ?? Output.data), ['2'])
  })
}

test('aoconnect 0.0.98 in its mainnet mode', { timeout }, () => mainnet(node.url, place))

test('what one node does for an app besides', { timeout }, async (t) => {
  const client = await app('98', node.url, place)
  for (const [name, check] of Object.entries(more)) await t.test(name, () => check(client))
})

test('a node that starts again knows what it answered, and what clients monitor', { timeout }, async () => {
  const folder = temporaryFolder()
  const first = await startGateway([], folder)
  const there = { ...place, scheduler: first.ready.address }
  let client = await app('98', first.url, there)
  const tags = [{ name: 'Cron-Interval', value: '1-second' }, { name: 'Cron-Tag-Action', value: 'Cron' }]
  const process = await client.spawn('kept', tags)
  const { message } = await client.run(process, 'Ticks = 0 Handlers.add("tick", "Cron", function (msg) Ticks = Ticks + 1 end) return "kept"')
  await client.ao.monitor({ process, signer: client.signer })
  await first.stop()

  const again = await startGateway([], folder)
  client = await app('98', again.url, there)
  assert.equal((await client.ao.result({ process, message })).Output.data.output ?? (await client.ao.result({ process, message })).Output.data, 'kept')
  const ticks = async () => {
    const { Output } = await client.ao.dryrun({ process, data: 'return Ticks', tags: [{ name: 'Action', value: 'Eval' }], Owner: client.address })
    return Number(Output.data.output ?? Output.data)
  }
  const before = await ticks()
  await until('ticks after the restart', async () => (await ticks()) > before + 1)
  await client.ao.unmonitor({ process, signer: client.signer })
  const keepsTime = async () => {
    const known = await again.weft('processes')
    return known.some((info) => info.process === process && info.duties.includes('cron'))
  }
  await until('the end of the monitoring', async () => !(await keepsTime()))
  await again.stop()
})

test('a page hears of a process as it goes on', { timeout }, async () => {
  const client = await app('98', node.url, place)
  const process = await client.spawn('events')
  const gone = new AbortController()
  const stream = await fetch(`${node.url}/events/${process}?from-nonce=-1`, { signal: gone.signal })
  assert.equal(stream.headers.get('content-type'), 'text/event-stream')
  const { message } = await client.run(process, 'return "heard"')
  let told = ''
  for await (const piece of stream.body.pipeThrough(new TextDecoderStream())) {
    told += piece
    if (told.includes(message) && told.includes('event: outcome') && told.includes('heard')) break
  }
  assert.match(told, /event: slot\ndata: \{/)
  gone.abort()
})
