// What is sent to the two modules that compute with vectors: SQL to one, a language model to the
// other.

import * as actors from './actors.mjs'

const { owner } = actors

const boot = {
  name: 'boot',
  Id: actors.process,
  from: owner,
  data: 'the text of the process',
  rawTags: actors.processTags,
}
const runs = (cases) => [
  boot,
  ...cases.map(([name, data]) => ({ name, from: owner, data, tags: { Action: 'Eval' } })),
]
const messages = (cases) =>
  runs(cases).map((given, slot) => ({ name: given.name, json: JSON.stringify(actors.message(slot, given)) }))

const rows = `function Rows(sql, ...)
    local statement, out = assert(DB:prepare(sql), DB:errmsg()), {}
    if select("#", ...) > 0 then statement:bind_values(...) end
    for row in statement:rows() do
      local line = {}
      for at = 1, #row do line[at] = tostring(row[at]) end
      out[#out + 1] = table.concat(line, ",")
    end
    statement:finalize()
    return table.concat(out, ";")
  end
  function Do(sql) return DB:exec(sql) .. " " .. DB:errmsg() .. " " .. DB:changes() end`

/** SQL through `lsqlite3`. */
export const sql = messages([
  ['open', `SQL = require("lsqlite3") DB = SQL.open_memory() ${rows} return SQL.version() .. " " .. DB:errmsg()`],
  ['create', 'return Do("CREATE TABLE account (id TEXT PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0), note TEXT); CREATE TABLE transfer (id INTEGER PRIMARY KEY AUTOINCREMENT, sender TEXT REFERENCES account, receiver TEXT REFERENCES account, quantity INTEGER); CREATE INDEX by_sender ON transfer (sender, quantity)")'],
  ['insert', `return Do("INSERT INTO account VALUES ('alice', 1000, 'first'), ('bob', 50, NULL), ('carol', 0, 'h\u00e9llo \u4e16\u754c \u{1F600}')")`],
  ['select', 'return Rows("SELECT id, balance, note, length(note), typeof(note) FROM account ORDER BY balance DESC")'],
  ['bind', 'return Rows("SELECT id FROM account WHERE balance BETWEEN ? AND ? ORDER BY id", 1, 2000)'],
  ['transaction', `return Do("BEGIN; UPDATE account SET balance = balance - 30 WHERE id = 'alice'; UPDATE account SET balance = balance + 30 WHERE id = 'bob'; INSERT INTO transfer (sender, receiver, quantity) VALUES ('alice', 'bob', 30); COMMIT")`],
  ['transaction kept', 'return Rows("SELECT id, balance FROM account ORDER BY id") .. " " .. Rows("SELECT * FROM transfer")'],
  ['transaction rolled back', `Do("BEGIN; DELETE FROM account; INSERT INTO transfer (sender) VALUES ('nobody')") local inside = Rows("SELECT count(*) FROM account") Do("ROLLBACK") return inside .. " " .. Rows("SELECT count(*), sum(balance) FROM account")`],
  ['savepoints', `Do("SAVEPOINT a; INSERT INTO account VALUES ('dave', 1, ''); SAVEPOINT b; INSERT INTO account VALUES ('erin', 2, ''); ROLLBACK TO b; RELEASE a") return Rows("SELECT group_concat(id, '+') FROM (SELECT id FROM account ORDER BY id)")`],
  ['transaction left open', `return Do("BEGIN; UPDATE account SET balance = 7 WHERE id = 'bob'")`],
  ['transaction ended by another message', `local inside = Rows("SELECT balance FROM account WHERE id = 'bob'") return inside .. " " .. Do("ROLLBACK") .. " " .. Rows("SELECT balance FROM account WHERE id = 'bob'")`],
  ['error: syntax', 'return Do("SELEC 1")'],
  ['error: no such table', 'return Do("SELECT * FROM nowhere")'],
  ['error: unique', `return Do("INSERT INTO account VALUES ('bob', 1, NULL)")`],
  ['error: check', `return Do("UPDATE account SET balance = -1 WHERE id = 'bob'")`],
  ['error: not null', `return Do("INSERT INTO account VALUES ('frank', NULL, NULL)")`],
  ['error thrown', 'return Rows("SELECT * FROM nowhere")'],
  ['error left nothing', 'return Rows("SELECT count(*), sum(balance) FROM account")'],
  ['many rows', `Do("CREATE TABLE number (n INTEGER PRIMARY KEY, square INTEGER, name TEXT)")
    local statement = DB:prepare("INSERT INTO number VALUES (?, ?, ?)")
    Do("BEGIN")
    for n = 1, 3000 do statement:bind_values(n, n * n, ("%x"):format(n * 7919)) statement:step() statement:reset() end
    statement:finalize()
    return Do("COMMIT") .. Rows("SELECT count(*), sum(square), min(name), max(name), avg(n) FROM number")`],
  ['join and group', 'return Rows("SELECT n.n % 7 AS k, count(*), total(m.square) FROM number n JOIN number m ON m.n = n.n / 2 GROUP BY k HAVING count(*) > 10 ORDER BY 3 DESC")'],
  ['recursive', 'return Rows("WITH RECURSIVE f(a, b) AS (SELECT 0, 1 UNION ALL SELECT b, a + b FROM f LIMIT 60) SELECT max(a) FROM f")'],
  ['window', 'return Rows("SELECT n, sum(square) OVER (ORDER BY n ROWS 2 PRECEDING) FROM number LIMIT 5 OFFSET 100")'],
  ['floats', `return Rows("SELECT 1.0 / 3, 1e300 * 1e10, round(2.5), 0.1 + 0.2, 9007199254740993, 9223372036854775807 + 1, printf('%.17g|%e|%08.3f', 2.0 / 3, 12345.678, -3.14159)")`],
  ['texts', `return Rows("SELECT upper('abc'), substr('h\u00e9llo', 2, 2), hex('\u4e16'), replace('aXbXc', 'X', '-'), instr('hello', 'l'), trim('  x '), quote(x'00ff'), 'a' LIKE 'A', 'a' GLOB 'A'")`],
  ['dates', `return Rows("SELECT datetime(1790000000, 'unixepoch'), strftime('%Y-%j-%W', '2000-02-29'), julianday('1970-01-01'), date('2026-01-31', '+1 month')")`],
  ['callback and function', `DB:create_function("twice", 1, function(context, value) context:result_number(value * 2) end) local seen = {} DB:exec("SELECT id, twice(balance) AS d FROM account ORDER BY id", function(_, count, values, names) seen[#seen + 1] = names[2] .. "=" .. values[2] return 0 end) return table.concat(seen, " ")`],
  ['callback throws', `DB:create_function("angry", 1, function() error("on purpose") end) return pcall(function() return Rows("SELECT angry(1)") end)`],
  ['still there', 'return Rows("SELECT count(*) FROM number") .. " " .. Rows("PRAGMA integrity_check")'],
  ['update and delete', `return Do("DELETE FROM number WHERE n % 3 = 0") .. "; " .. Do("UPDATE number SET name = upper(name) WHERE n < 10") .. "; " .. Rows("SELECT name FROM number WHERE n < 10")`],
  ['vacuum', 'return Do("DROP TABLE number; VACUUM") .. Rows("SELECT name, type FROM sqlite_master ORDER BY name")'],
  ['blob of a megabyte', `Do("CREATE TABLE blob (b BLOB)") local statement = DB:prepare("INSERT INTO blob VALUES (?)") statement:bind_blob(1, ("0123456789abcdef"):rep(65536)) statement:step() statement:finalize() return Rows("SELECT length(b), substr(b, 1000000, 5) FROM blob")`],
  ['close', 'return tostring(DB:close()) .. tostring(DB:isopen())'],
  ['a file', 'DB = SQL.open("/tmp/file.db") return DB and DB:exec("CREATE TABLE t (a)") .. DB:errmsg() or "not opened"'],
])

/** The id under which the model is offered, and one under which a text is. */
export const modelId = actors.id('model')
export const textId = actors.id('text')
export const text = 'The first line.\nThe second, \u00fcml\u00e4ut and all.\n'

const drive = `local function get(id)
    local file = io.open("/data/" .. id)
    if not file then return nil, "File not found!" end
    local size = file:seek("end")
    local data = file:read(size)
    file:close()
    return size .. ":" .. data
  end`

/** Loading a model through the drive, and what it says. */
export const tokens = messages([
  ['the backend', 'Llama = require("llama") local l = {} for name in pairs(Llama) do l[#l + 1] = name end table.sort(l) return table.concat(l, " ")'],
  ['load', `return Llama.load("/data/${modelId}")`],
  ['sixteen tokens', 'Llama.set_prompt("the tea is") return Llama.run(16)'],
  ['one token', 'return Llama.next()'],
  ['one more token', 'return Llama.next()'],
  ['add to the prompt', 'Llama.add(" and so") return Llama.run(32)'],
  ['a new prompt', 'Llama.set_prompt("once") return Llama.run(8)'],
  ['the same prompt', 'Llama.set_prompt("once") return Llama.run(8)'],
  ['a text item', `${drive} return get("${textId}")`],
  ['a text item again', `${drive} return get("${textId}")`],
  ['an item that is not offered', `${drive} return tostring(get("${actors.id('other')}"))`],
  ['no item', `${drive} return tostring(get(""))`],
  ['a transaction', 'return tostring(io.open("/tx/" .. ao.id))'],
  ['a block', 'return tostring(io.open("/block/1"))'],
  ['after all', 'return Llama.next()'],
  ['a model that is not there', `return Llama.load("/data/${actors.id('other')}")`],
  ['after the failure', 'return 1 + 1'],
])
