-- wrk: lists of ten for users 1 to USERS (943) in no order.
local users = tonumber(os.getenv("USERS") or "943")
math.randomseed(tonumber(os.getenv("SEED") or "1"))

function request()
    return wrk.format("GET", "/api/recommend/" .. math.random(users) .. "?n=10")
end
