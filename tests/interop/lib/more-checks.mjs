// More of what an app does, beside the checklist: how the nodes behave under it, whichever client asks. Each has
// processes of its own.

import assert from 'node:assert/strict'
import { ask, citizen, person, tag, until } from './gateway.mjs'

const evaluate = [{ name: 'Action', value: 'Eval' }]
const hops = 51

const output = (result) => {
  assert.equal(result.Error, undefined, result.Error)
  const data = result.Output?.data
  return String(data?.output ?? data)
}

/** What a piece of Lua says, without leaving a trace. */
async function look(app, process, data) {
  return output(await app.ao.dryrun({ process, data, tags: evaluate, Owner: app.address }))
}

/** Two processes throw a ball to each other; each sees its throws in order, and none twice. */
async function order(app) {
  const [left, right] = [await app.spawn('left'), await app.spawn('right')]
  for (const [one, other] of [[left, right], [right, left]]) {
    await app.run(one, `Balls = {} Handlers.add("ball", "Ball", function (msg)
      local n = tonumber(msg.Tags.N)
      table.insert(Balls, n)
      if n < ${hops} then Send({ Target = "${other}", Action = "Ball", N = tostring(n + 1) }) end
    end)`)
  }
  await app.run(left, `Send({ Target = "${right}", Action = "Ball", N = "1" }) return "thrown"`)
  await until('the last throw', async () => (await look(app, right, `return tostring(Balls[#Balls] == ${hops})`)) === 'true', 180_000)
  const odd = Array.from({ length: hops }, (_, at) => at + 1).filter((n) => n % 2 === 1)
  assert.equal(await look(app, right, 'return table.concat(Balls, ",")'), odd.join(','))
  assert.equal(await look(app, left, 'return table.concat(Balls, ",")'), odd.slice(0, -1).map((n) => n + 1).join(','))
}

/** A process starts another, hears of it, and owns it. */
async function spawned(app) {
  const parent = await app.spawn('parent')
  await app.run(parent, 'Handlers.add("born", "Spawned", function (msg) Born = msg.Tags.Process BornBy = msg.From end)')
  const tags = (app.place.child ?? []).map(({ name, value }) => `["${name}"] = "${value}"`)
  const scheduler = `Scheduler = "${app.place.scheduler}"`
  const result = await app.run(parent, `Spawn("${app.place.module}", { Data = "", Tags = { ${['Name = "child"', scheduler, ...tags].join(', ')} } }) return "sent"`)
  assert.equal(result.Spawns.length, 1)
  await until('the child', async () => /^[\w-]{43}$/.test(await look(app, parent, 'return tostring(Born)')), 120_000)
  assert.equal(await look(app, parent, 'return BornBy'), parent)
  const child = await look(app, parent, 'return Born')
  await app.run(parent, `Send({ Target = "${child}", Action = "Eval", Data = "Owned = Owner" }) return "sent"`)
  const owner = async () => output(await app.ao.dryrun({ process: child, data: 'return tostring(Owned)', tags: evaluate, Owner: parent }))
  await until('the owner', async () => (await owner()) === parent, 120_000)
}

/** A message to a wallet goes nowhere, and holds up nothing. */
async function wallets(app) {
  const [sender, other] = [await app.spawn('sender'), await app.spawn('other')]
  await app.run(other, 'Handlers.add("heard", "Hear", function (msg) Heard = msg.From end)')
  const wallet = citizen('a wallet').address
  const sent = await app.run(sender, `Send({ Target = "${wallet}", Data = "x" }) Send({ Target = "${other}", Action = "Hear" }) return "sent"`)
  assert.deepEqual(sent.Messages.map(({ Target }) => Target), [wallet, other])
  await until('the message behind it', async () => (await look(app, other, 'return tostring(Heard)')) === sender, 120_000)
}

/** Only the owner's code is run; what strangers send lies in the inbox. */
async function strangers(app) {
  const process = await app.spawn('mine')
  await app.run(process, 'Mine = 1')
  const { signer } = citizen('a stranger')
  const by = Number(app.version) < 85 ? app.ownerOf(person().jwk) : signer
  for (const tags of [evaluate, [{ name: 'Action', value: 'Greet' }]]) {
    const message = await app.send(process, 'Mine = 2', tags, by)
    const result = await app.ao.result({ process, message })
    assert.equal(result.Error, undefined)
  }
  assert.equal(await look(app, process, 'return Mine'), '1')
  assert.equal(await look(app, process, 'return Inbox[#Inbox].Action'), 'Greet')
}

/** Long data arrives whole, and code that never ends is ended. */
async function limits(app) {
  const process = await app.spawn('limits', [{ name: 'Compute-Limit', value: '20000000000' }])
  await app.run(process, 'Handlers.add("long", "Long", function (msg) Length = #msg.Data end)')
  const message = await app.send(process, 'x'.repeat(512 * 1024), [{ name: 'Action', value: 'Long' }])
  await app.ao.result({ process, message })
  assert.equal(await look(app, process, 'return Length'), String(512 * 1024))
  const endless = await app.run(process, 'Length = 0 while true do end')
  assert.match(String(endless.Error), /gas/)
  assert.equal(await look(app, process, 'return Length'), String(512 * 1024), 'what it did is undone')
}

/** Many who poll for one result all get it, and a client that hangs up changes nothing. */
async function polls(app) {
  const process = await app.spawn('polled')
  const message = await app.send(process, 'local n = 0 for i = 1, 100000 do n = n + i end return n', evaluate)
  const gone = new AbortController()
  const path = `/result/${message}?process-id=${process}`
  const left = fetch(`${app.gateway}${path}`, { signal: gone.signal }).then(() => {}, () => {})
  const all = Array.from({ length: 100 }, () => ask(app.gateway, path))
  gone.abort()
  await left
  for (const { status, json } of await Promise.all(all)) {
    assert.equal(status, 200)
    assert.equal(output(json), '5000050000')
  }
  const head = await fetch(`${app.gateway}/`, { method: 'HEAD' })
  assert.deepEqual([head.status, await head.text()], [200, ''])
}

/** Time passes in a process with a cron while somebody monitors it. */
async function crons(app) {
  const tags = [{ name: 'Cron-Interval', value: '1-second' }, { name: 'Cron-Tag-Action', value: 'Cron' }]
  const process = await app.spawn('clock', tags)
  await app.run(process, 'Ticks = 0 Handlers.add("tick", "Cron", function (msg) Ticks = Ticks + 1 end)')
  await app.ao.monitor({ process, signer: app.signer })
  await until('three ticks', async () => Number(await look(app, process, 'return Ticks')) >= 3, 120_000)
  const { json: page } = await ask(app.gateway, `/cron/${process}?limit=2`)
  assert.equal(page.edges.length, 2)
  assert.ok(JSON.parse(atob(page.edges[0].cursor)).cron)
  await app.ao.unmonitor({ process, signer: app.signer })
}

/** Slots have numbers without a hole, and each message one slot, however often it is sent. */
async function slots(app) {
  const process = await app.spawn('slots')
  const sent = await Promise.all(Array.from({ length: 20 }, (_, at) => app.send(process, `return ${at}`, evaluate)))
  const { json: page } = await ask(app.gateway, `/${process}?process-id=${process}&limit=1000`)
  const nonces = page.edges.map(({ node }) => Number(tag(node.assignment.tags, 'Nonce')))
  assert.deepEqual(nonces, nonces.map((_, at) => at))
  const messages = page.edges.slice(1).map(({ node }) => node.message.id)
  assert.deepEqual(messages.toSorted(), sent.toSorted())
}

export const more = { order, spawned, wallets, strangers, limits, polls, crons, slots }
