-- Paragraphs that random programs are made of. None of them writes to a wallet: the simulator knows of none.

T = T or {} T["k" .. math.random(50)] = os.time()

pcall(error, { at = os.time() })

S = (S or "") .. tostring(T) if #S > 5000 then S = nil end

local keys = "" for k in pairs(_G) do keys = keys .. k end print(#keys, keys:sub(1, 40))

K = K or {} K[{}] = true local n = 0 for _ in pairs(K) do n = n + 1 end print(n)

Seen = Seen or {} local out = {} for k, v in pairs(Seen) do out[#out + 1] = k .. "=" .. v end print(table.concat(out, " "))

Send({ Target = ao.id, Action = "Increment", Data = { n = #Inbox } })

Handlers.once({ Action = "Increment" }, function(m) Waited = (Waited or "") .. m.From:sub(1, 3) Send({ Target = ao.id, Action = "Relay", To = m.Target, Data = Waited }) end)

coroutine.wrap(function() local m = Receive({ Action = "Increment" }) Heard = m.From end)()

Big = Big or require(".bint")(256)(1) Big = Big * 31 + math.random(7) print(tostring(Big))

V = setmetatable(V or {}, { __mode = "v" }) for i = 1, 40 do V[("v"):rep(40) .. i] = {} end print(#require("json").encode(V))

print(os.date("%c"), require(".chance").integer(1, 1000), require(".crypto").digest.sha1(tostring(os.time())).asHex())

Floats = (Floats or 0.1) * 1.7 print(Floats, Floats % 1, 0 / 0, math.sqrt(Floats))

Long = {} for i = 1, 3000 do Long[i] = ("x"):rep(i % 50) end

error("on purpose " .. math.random(9))

T, K, S, Long = nil, nil, nil, nil
