"""What the ORM cannot express: extensions, the event log, checks, partial and GiST indexes, the ledger's guard."""

from tortoise import migrations
from tortoise.migrations import operations as ops

EXTENSIONS = """
CREATE EXTENSION IF NOT EXISTS cube;
CREATE EXTENSION IF NOT EXISTS earthdistance;
CREATE EXTENSION IF NOT EXISTS btree_gist;
"""

FEEDS = """
CREATE TABLE feed_epoch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch text NOT NULL
);
INSERT INTO feed_epoch (epoch) VALUES (substr(replace(gen_random_uuid()::text, '-', ''), 1, 12));

CREATE TABLE feed_head (
    feed text PRIMARY KEY,
    top bigint NOT NULL
) WITH (fillfactor = 70);

-- An event that several feeds carry is stored once; the other feeds point at it.
CREATE TABLE feed_event (
    feed text NOT NULL,
    "offset" bigint NOT NULL,
    type text NOT NULL,
    at timestamptz NOT NULL,
    payload jsonb,
    ref_feed text,
    ref_offset bigint,
    PRIMARY KEY (feed, "offset"),
    CHECK ((payload IS NULL) = (ref_feed IS NOT NULL))
);
CREATE INDEX feed_event_at ON feed_event USING brin (at);

-- Appends the events of one transaction. Each element of `events` is
-- {"feeds": ["primary", "other", …], "type": …, "at": …, "payload": {…}}; every feed is named once per event.
-- Heads are locked in the order of their names, so that two transactions cannot wait for each other, and stay
-- locked until commit, so that offsets are in commit order and without gaps.
CREATE FUNCTION feed_append(events jsonb) RETURNS TABLE (event int, feed_name text, feed_offset bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    tops jsonb := '{}';
    wanted record;
    one jsonb;
    name text;
    position bigint;
    reached bigint;
    primary_feed text;
    primary_offset bigint;
    number int := 0;
BEGIN
    FOR wanted IN
        SELECT f.name, count(*) AS times
        FROM jsonb_array_elements(events) AS e(body), jsonb_array_elements_text(e.body -> 'feeds') AS f(name)
        GROUP BY f.name ORDER BY f.name COLLATE "C"
    LOOP
        INSERT INTO feed_head AS h (feed, top) VALUES (wanted.name, wanted.times)
        ON CONFLICT (feed) DO UPDATE SET top = h.top + excluded.top
        RETURNING h.top INTO reached;
        tops := tops || jsonb_build_object(wanted.name, reached - wanted.times);
    END LOOP;
    FOR one IN SELECT body FROM jsonb_array_elements(events) WITH ORDINALITY AS e(body, place) ORDER BY place LOOP
        primary_feed := NULL;
        FOR name IN
            SELECT f.name FROM jsonb_array_elements_text(one -> 'feeds') WITH ORDINALITY AS f(name, place)
            ORDER BY place
        LOOP
            position := (tops ->> name)::bigint + 1;
            tops := tops || jsonb_build_object(name, position);
            IF primary_feed IS NULL THEN
                INSERT INTO feed_event (feed, "offset", type, at, payload)
                VALUES (name, position, one ->> 'type', (one ->> 'at')::timestamptz, one -> 'payload');
                primary_feed := name;
                primary_offset := position;
            ELSE
                INSERT INTO feed_event (feed, "offset", type, at, ref_feed, ref_offset)
                VALUES (name, position, one ->> 'type', (one ->> 'at')::timestamptz, primary_feed, primary_offset);
            END IF;
            event := number;
            feed_name := name;
            feed_offset := position;
            RETURN NEXT;
        END LOOP;
        number := number + 1;
    END LOOP;
END $$;
"""

CHECKS = """
ALTER TABLE sku
    ADD CONSTRAINT sku_price_not_negative CHECK (price >= 0),
    ADD CONSTRAINT sku_stock_not_oversold CHECK (held >= 0 AND sold >= 0 AND (total IS NULL OR held + sold <= total));
ALTER TABLE order_line ADD CONSTRAINT order_line_quantity_positive CHECK (quantity > 0);
ALTER TABLE "order" ADD CONSTRAINT order_money CHECK (
    subtotal >= 0 AND delivery_fee >= 0 AND total = subtotal + delivery_fee AND refunded BETWEEN 0 AND total);
ALTER TABLE payment ADD CONSTRAINT payment_refunds_within_captured CHECK (
    amount > 0 AND refunded >= 0 AND refunded <= refund_due AND refund_due <= amount);
ALTER TABLE refund ADD CONSTRAINT refund_positive CHECK (amount > 0);
ALTER TABLE queue_class ADD CONSTRAINT queue_class_party CHECK (min_party >= 1 AND max_party >= min_party);
"""

INDEXES = """
CREATE INDEX store_earth ON store USING gist (ll_to_earth(latitude, longitude));
CREATE INDEX store_search ON store USING gin (search_grams);
CREATE INDEX order_open_by_store ON "order" (store_id, id)
    WHERE state IN ('PAID', 'ACCEPTED', 'PREPARING', 'READY', 'PICKED_UP');
CREATE INDEX order_open_by_city ON "order" (city_id, state)
    WHERE state IN ('PLACED', 'PAID', 'ACCEPTED', 'PREPARING', 'READY', 'PICKED_UP', 'DELIVERED');
CREATE INDEX order_by_day ON "order" (city_id, placed_at);
-- An order is captured at most once; a second capture is refunded by the payment service.
CREATE UNIQUE INDEX payment_one_pending ON payment (order_id) WHERE state = 'PENDING';
CREATE INDEX delivery_open ON delivery (city_id, state) WHERE state IN ('SEARCHING', 'OFFERED');
CREATE INDEX delivery_live ON delivery (city_id, rider_id) WHERE state IN ('ASSIGNED', 'AT_STORE', 'PICKED_UP');
CREATE INDEX rider_free ON rider USING gist (ll_to_earth(latitude, longitude))
    WHERE online AND active_delivery_id IS NULL AND latitude IS NOT NULL;
CREATE INDEX rider_online ON rider (city_id) WHERE online;
CREATE UNIQUE INDEX rider_one_job ON rider (active_delivery_id) WHERE active_delivery_id IS NOT NULL;
CREATE INDEX queue_ticket_line ON queue_ticket (queue_class_id, rank) WHERE state = 'WAITING';
CREATE UNIQUE INDEX queue_ticket_one_active ON queue_ticket (store_id, consumer_id)
    WHERE consumer_id IS NOT NULL AND state IN ('WAITING', 'CALLED');
CREATE UNIQUE INDEX grant_store_once ON "grant" (person_id, role, store_id)
    WHERE revoked_at IS NULL AND store_id IS NOT NULL;
CREATE UNIQUE INDEX grant_city_once ON "grant" (person_id, role, city_id)
    WHERE revoked_at IS NULL AND city_id IS NOT NULL;
"""

LEDGER = """
CREATE FUNCTION ledger_check_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM ledger_entry WHERE transaction_id = NEW.transaction_id GROUP BY currency HAVING sum(amount) <> 0
    ) THEN
        RAISE EXCEPTION 'ledger transaction % does not sum to zero', NEW.transaction_id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledger_balance AFTER INSERT OR UPDATE ON ledger_entry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_check_balance();
CREATE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER ledger_entry_append_only BEFORE UPDATE OR DELETE ON ledger_entry
    FOR EACH ROW EXECUTE FUNCTION ledger_append_only();
CREATE TRIGGER ledger_transaction_append_only BEFORE UPDATE OR DELETE ON ledger_transaction
    FOR EACH ROW EXECUTE FUNCTION ledger_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("models", "0001_initial")]

    operations = [
        ops.RunSQL(EXTENSIONS, ""),
        ops.RunSQL(FEEDS, "DROP FUNCTION feed_append; DROP TABLE feed_event, feed_head, feed_epoch"),
        ops.RunSQL(CHECKS, ""),
        ops.RunSQL(INDEXES, ""),
        ops.RunSQL(LEDGER, ""),
    ]
