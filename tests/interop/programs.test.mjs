// Programs against the interface of aos (a token, stakes, votes, a chatroom, an arena with players that are
// processes) that work together over several nodes, asked through the gateway of one that does nothing for them.
// Each runs on aos itself and on the Lua runtime of every node.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { citizen, connectTo, until } from './lib/gateway.mjs'
import { startMesh } from './lib/mesh.mjs'
import { modules } from './lib/modules.mjs'

/** What a test may take, on a machine with other work. */
const timeout = 600_000
const [aos] = modules
const program = (name) => readFileSync(new URL(`programs/${name}.lua`, import.meta.url), 'utf8')

let nodes, ao
const runtimes = {}
before(async () => {
  const all = ['--roles', 'scheduler,compute,messenger']
  nodes = await startMesh([all, all, ['--roles', '']])
  const [one, , door] = nodes
  runtimes.Lua = (await one.weft('module', 'list'))[0].module
  runtimes.aos = (await one.weft('module', 'add', aos.file, '--format', aos.format)).module
  ;({ ao } = await connectTo('98', door.url))
}, { timeout })
after(() => nodes?.stop(), { timeout })

/** Those who take part, and what they do. */
const people = Object.fromEntries(['owner', 'alice', 'bob'].map((name) => [name, citizen(name)]))

/** A town of processes on one runtime, scheduled by the nodes in turn. */
class Town {
  constructor(module) {
    this.module = module
    this.spawned = 0
    this.sent = 0
  }

  async spawn(name, setup = '') {
    const scheduler = nodes[this.spawned++ % 2].ready.address
    const tags = [{ name: 'Name', value: name }, { name: 'Number', value: String(this.sent++) }]
    const process = await ao.spawn({ module: this.module, scheduler, signer: people.owner.signer, tags })
    await this.run(process, `${setup}\n${program(name.split(' ')[0])}`)
    return process
  }

  /** Sends, and gives the result of the message. Two messages with equal words would be one item: these keys sign the same alike. */
  async send(process, by, action, tags = {}, data = '') {
    const entries = Object.entries({ Action: action, ...tags, Number: String(this.sent++) })
    const all = entries.map(([name, value]) => ({ name, value }))
    const message = await ao.message({ process, signer: people[by].signer, tags: all, data })
    return ao.result({ process, message })
  }

  async run(process, data) {
    const result = await this.send(process, 'owner', 'Eval', {}, data)
    assert.equal(result.Error, undefined, result.Error)
    return String(result.Output?.data?.output ?? result.Output?.data)
  }

  /** What a question is answered, without leaving a trace. */
  async ask(process, action, tags = {}) {
    const all = Object.entries({ Action: action, ...tags }).map(([name, value]) => ({ name, value }))
    const { Messages, Error: error } = await ao.dryrun({ process, tags: all, Owner: people.alice.address })
    assert.equal(error, undefined, error)
    return Messages[0]
  }

  async balance(token, account) {
    return (await this.ask(token, 'Balance', { Recipient: account })).Data
  }

  /** Waits until it is so. */
  async becomes(what, expected, look) {
    let seen
    const is = async () => (seen = await look()) === expected
    await until(what, is, 60_000).catch(() => assert.equal(seen, expected, what))
  }
}

for (const runtime of ['Lua', 'aos']) {
  test(`programs of a town on ${runtime}`, { timeout }, async (t) => {
    const town = new Town(runtimes[runtime])
    const { owner, alice, bob } = people
    let token, staking, arena

    await t.test('a token', async () => {
      token = await town.spawn('token')
      await town.send(token, 'owner', 'Mint', { Quantity: '1000' })
      const stolen = await town.send(token, 'alice', 'Mint', { Quantity: '1000' })
      assert.match(String(stolen.Error ?? JSON.stringify(stolen.Output)), /only the owner mints/)
      const paid = await town.send(token, 'owner', 'Transfer', { Quantity: '300', Recipient: alice.address, 'X-For': 'bread' })
      const notices = Object.fromEntries(paid.Messages.map(({ Tags, Target }) => {
        const tags = Object.fromEntries(Tags.map(({ name, value }) => [name, value]))
        return [tags.Action, { target: Target, sender: tags.Sender, what: tags['X-For'] }]
      }))
      assert.deepEqual(notices['Credit-Notice'], { target: alice.address, sender: owner.address, what: 'bread' })
      assert.deepEqual(notices['Debit-Notice'], { target: owner.address, sender: undefined, what: 'bread' })
      await town.send(token, 'owner', 'Transfer', { Quantity: '200', Recipient: bob.address })
      const tooMuch = await town.send(token, 'bob', 'Transfer', { Quantity: '201', Recipient: alice.address })
      assert.ok(tooMuch.Messages[0].Tags.some(({ value }) => value === 'Transfer-Error'))
      const balances = JSON.parse((await town.ask(token, 'Balances')).Data)
      assert.deepEqual(balances, { [owner.address]: '500', [alice.address]: '300', [bob.address]: '200' })
    })

    await t.test('stakes', async () => {
      staking = await town.spawn('staking', `Token = "${token}" UnstakeMs = 1`)
      const stake = (by, Quantity) => town.send(token, by, 'Transfer', { Quantity, Recipient: staking, 'X-Action': 'Stake' })
      await stake('alice', '100')
      await stake('bob', '60')
      const stakes = async () => JSON.stringify(Object.entries(JSON.parse((await town.ask(staking, 'Stakers')).Data)).sort())
      const expected = [[alice.address, '100'], [bob.address, '60']].sort()
      await town.becomes('the stakes', JSON.stringify(expected), stakes)
      await town.send(staking, 'bob', 'Unstake', { Quantity: '20' })
      // What is due goes out with the next message.
      await until('the stake that comes back', async () => {
        await town.send(staking, 'alice', 'Stakers')
        return (await town.balance(token, bob.address)) === '160'
      })
      // Whoever only says that he paid has no stake.
      await town.send(staking, 'bob', 'Credit-Notice', { Quantity: '1000', Sender: bob.address, 'X-Action': 'Stake' })
      assert.equal(JSON.parse((await town.ask(staking, 'Stakers')).Data)[bob.address], '40')
    })

    await t.test('votes that change an arena', async () => {
      const voting = await town.spawn('voting', `Staking = "${staking}"`)
      arena = await town.spawn('arena', `Token = "${token}" Council = "${voting}"`)
      for (const [poll, Value] of [['one', '20'], ['two', '1']]) {
        await town.send(voting, 'alice', 'Propose', { Poll: poll, Subject: arena, Setting: 'Fee', Value })
      }
      const vote = (by, Poll, Side) => town.send(voting, by, 'Vote', { Poll, Side })
      await Promise.all([vote('alice', 'one', 'yay'), vote('bob', 'one', 'nay'), vote('alice', 'two', 'nay'), vote('bob', 'two', 'yay')])
      await town.send(voting, 'bob', 'Tally', { Poll: 'one' })
      await town.send(voting, 'bob', 'Tally', { Poll: 'two' })
      await town.becomes('the fee', '20', () => town.run(arena, 'return Fee'))
      const states = 'return Polls.one.state .. " " .. Polls.one.yay .. ":" .. Polls.one.nay .. " " .. Polls.two.state'
      await town.becomes('the polls', 'carried 100:40 lost', () => town.run(voting, states))
      // An order of anybody else is none.
      await town.send(arena, 'alice', 'Set', { Setting: 'Fee', Value: '1' })
      assert.equal(await town.run(arena, 'return Fee'), '20')
    })

    await t.test('a game between processes', async () => {
      const bots = [await town.spawn('bot one', `Arena = "${arena}"`), await town.spawn('bot two', `Arena = "${arena}"`)]
      const enter = (by, player, Quantity, strength) =>
        town.send(token, by, 'Transfer', { Quantity, Recipient: arena, 'X-Action': 'Enter', 'X-Player': player, 'X-Strength': strength })
      await enter('alice', bots[0], '20', '50')
      await enter('bob', bots[1], '20', '25')
      // Too little is paid back.
      await enter('bob', people.bob.address, '5', '25')
      await town.becomes('two players', '2', () => town.run(arena, 'local n = 0 for _ in pairs(Players) do n = n + 1 end return n'))
      await town.becomes('what was paid back', '140', () => town.balance(token, bob.address))
      await town.send(arena, 'alice', 'Start')
      const state = async () => JSON.parse((await town.ask(arena, 'Get-Game-State')).Data)
      await until('the end of the game', async () => (await state()).state === 'over')
      const { winner, pot, players } = await state()
      assert.deepEqual([winner, pot], [bots[0], '40'], JSON.stringify(players))
      await town.becomes('the prize', '40', () => town.balance(token, bots[0]))
      for (const bot of bots) await town.becomes('what it heard', 'Over', () => town.run(bot, 'return Heard[#Heard] or "nothing"'))
      // A player cannot be told by strangers that it is its turn.
      const told = await town.send(bots[0], 'bob', 'Your-Turn', {}, '{}')
      assert.deepEqual(told.Messages, [])
      assert.equal(JSON.parse((await town.ask(token, 'Balances')).Data)[arena], '0')
    })

    await t.test('a chatroom', async () => {
      const room = await town.spawn('chatroom')
      const guests = [await town.spawn('bot guest', 'Arena = ""'), await town.spawn('bot other', 'Arena = ""')]
      for (const guest of guests) {
        await town.run(guest, `Said = {} Handlers.add("said", "Broadcasted", function (msg) if msg.From == "${room}" then Said[#Said + 1] = msg.Data end end)`)
        await town.run(guest, `Send({ Target = "${room}", Action = "Register" }) return "sent"`)
      }
      await town.becomes('two members', 2, async () => JSON.parse((await town.ask(room, 'Get-Members')).Data).length)
      for (const said of ['one', 'two', 'three']) {
        await town.run(guests[0], `Send({ Target = "${room}", Action = "Broadcast", Data = "${said}" }) return "sent"`)
      }
      for (const guest of guests) {
        await town.becomes('what was said', 'one,three,two', () => town.run(guest, 'local all = {} for at, said in ipairs(Said) do all[at] = said end table.sort(all) return table.concat(all, ",")'))
      }
      const stranger = await town.send(room, 'bob', 'Broadcast', {}, 'let me in')
      assert.equal(stranger.Messages[0].Data, 'Not registered.')
    })
  })
}
