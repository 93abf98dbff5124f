/* TPACKET_V3 (packet(7)): a ring of blocks, which are handed over when they are full or have been open
 * for a time. */
#include "network.h"
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <stddef.h>

enum { own_protocol = 0x88b5, block_size = 8192, blocks = 3, private = 12 };

static struct sockaddr_ll lo = { AF_PACKET, 0, 1 };

static int packet_socket(void) {
	lo.sll_protocol = htons(own_protocol);
	return OK(socket(AF_PACKET, SOCK_RAW, 0));
}

/* ring makes a ring whose blocks are open for so many milliseconds. */
static char *ring(int r, unsigned time_out) {
	int v = TPACKET_V3;
	OK(setsockopt(r, SOL_PACKET, PACKET_VERSION, &v, sizeof v));
	struct tpacket_req3 q = { .tp_block_size = block_size, .tp_block_nr = blocks, .tp_frame_size = 2048, .tp_frame_nr = 12,
		.tp_retire_blk_tov = time_out, .tp_sizeof_priv = private };
	FAILS(setsockopt(r, SOL_PACKET, PACKET_RX_RING, &q, sizeof(struct tpacket_req)), EINVAL);
	q.tp_sizeof_priv = block_size;
	FAILS(setsockopt(r, SOL_PACKET, PACKET_RX_RING, &q, sizeof q), EINVAL);
	q.tp_sizeof_priv = private;
	OK(setsockopt(r, SOL_PACKET, PACKET_RX_RING, &q, sizeof q));
	char *map = mmap(NULL, block_size * blocks, PROT_READ | PROT_WRITE, MAP_SHARED, r, 0);
	CHECK(map != MAP_FAILED);
	OK(bind(r, (void *)&lo, sizeof lo));
	return map;
}

static void send_frame(int s, int c, int length) {
	unsigned char f[8192] = { 0 };
	f[12] = own_protocol >> 8;
	f[13] = own_protocol & 0xff;
	f[ETH_HLEN] = c;
	EQUAL(sendto(s, f, ETH_HLEN + length, 0, (void *)&lo, sizeof lo), ETH_HLEN + length);
}

static int readable(int fd) {
	struct pollfd p = { fd, POLLIN };
	return OK(poll(&p, 1, 0));
}

static struct tpacket_hdr_v1 *head(char *map, int i) { return &((struct tpacket_block_desc *)(map + i * block_size))->hdr.bh1; }

TEST(full_blocks) {
	own_network_up();
	int r = packet_socket(), s = packet_socket(), v = TPACKET_V3;
	socklen_t n = sizeof v;
	OK(getsockopt(r, SOL_PACKET, PACKET_HDRLEN, &v, &n));
	EQUAL(v, sizeof(struct tpacket3_hdr));
	char *map = ring(r, 600000);
	for (int i = 0; i < 7; i++)
		send_frame(s, 'a' + i, 1000);
	CHECK(!readable(r)); /* there is still room */
	send_frame(s, 'h', 1000);
	CHECK(readable(r));
	struct tpacket_block_desc *b = (void *)map;
	EQUAL(b->version, TPACKET_V3);
	EQUAL(b->offset_to_priv, sizeof *b);
	EQUAL(b->hdr.bh1.block_status, TP_STATUS_USER);
	EQUAL(b->hdr.bh1.num_pkts, 7);
	EQUAL(b->hdr.bh1.seq_num, 1);
	EQUAL(b->hdr.bh1.offset_to_first_pkt, sizeof *b + ((private + 7) & ~7));
	EQUAL(head(map, 1)->block_status, TP_STATUS_KERNEL);
	char *p = map + b->hdr.bh1.offset_to_first_pkt;
	unsigned length = b->hdr.bh1.offset_to_first_pkt;
	for (int i = 0; i < 7; i++) {
		struct tpacket3_hdr *h = (void *)p;
		CHECK(h->tp_status & TP_STATUS_USER);
		EQUAL(h->tp_len, ETH_HLEN + 1000);
		EQUAL(h->tp_snaplen, ETH_HLEN + 1000);
		EQUAL(h->tp_net, (TPACKET3_HDRLEN + 16 + 15) & ~15);
		EQUAL(h->tp_mac, h->tp_net - ETH_HLEN);
		EQUAL(p[h->tp_net], 'a' + i);
		CHECK(h->tp_sec >= b->hdr.bh1.ts_first_pkt.ts_sec && h->tp_sec <= b->hdr.bh1.ts_last_pkt.ts_sec);
		EQUAL(((struct sockaddr_ll *)(p + TPACKET_ALIGN(sizeof *h)))->sll_protocol, htons(own_protocol));
		unsigned size = (h->tp_mac + h->tp_snaplen + 7) & ~7;
		EQUAL(h->tp_next_offset, i == 6 ? 0 : size);
		length += size;
		p += size;
	}
	EQUAL(b->hdr.bh1.blk_len, length);
	/* Frames are lost once no block is free, and until then none. */
	for (int i = 0; i < 13; i++)
		send_frame(s, 'A' + i, 1000);
	EQUAL(head(map, 1)->block_status & TP_STATUS_USER, TP_STATUS_USER);
	EQUAL(head(map, 1)->num_pkts, 7);
	EQUAL(head(map, 1)->seq_num, 2);
	struct tpacket_stats_v3 st = { 0 };
	n = sizeof st;
	OK(getsockopt(r, SOL_PACKET, PACKET_STATISTICS, &st, &n));
	EQUAL(n, sizeof st);
	EQUAL(st.tp_packets, 21);
	EQUAL(st.tp_drops, 0);
	send_frame(s, 'x', 1000); /* the last block is full */
	send_frame(s, 'y', 1000);
	EQUAL(head(map, 2)->num_pkts, 7);
	OK(getsockopt(r, SOL_PACKET, PACKET_STATISTICS, &st, &n));
	EQUAL(st.tp_packets, 2);
	EQUAL(st.tp_drops, 2);
	EQUAL(st.tp_freeze_q_cnt, 1);
	b->hdr.bh1.block_status = TP_STATUS_KERNEL;
	for (int i = 0; i < 8; i++)
		send_frame(s, '0' + i, 1000);
	EQUAL(b->hdr.bh1.block_status & TP_STATUS_USER, TP_STATUS_USER);
	EQUAL(b->hdr.bh1.seq_num, 4);
	EQUAL(map[b->hdr.bh1.offset_to_first_pkt + ((struct tpacket3_hdr *)(map + b->hdr.bh1.offset_to_first_pkt))->tp_net], '0');
}

TEST(blocks_that_wait) {
	own_network_up();
	int r = packet_socket(), s = packet_socket();
	char *map = ring(r, 10);
	struct pollfd p = { r, POLLIN };
	for (int i = 0; i < 4; i++) {
		send_frame(s, 'a' + i, 20);
		EQUAL(poll(&p, 1, 60000), 1);
		struct tpacket_hdr_v1 *h = head(map, i % blocks);
		EQUAL(h->block_status, TP_STATUS_USER | TP_STATUS_BLK_TMO);
		EQUAL(h->num_pkts, 1);
		EQUAL(h->seq_num, i + 1);
		h->block_status = TP_STATUS_KERNEL;
		CHECK(!readable(r));
	}
}

/* No block is filled to its last byte. */
TEST(a_frame_that_would_fill_a_block) {
	own_network_up();
	int r = packet_socket(), s = packet_socket();
	char *map = ring(r, 600000);
	int before = (TPACKET3_HDRLEN + 16 + 15) & ~15, room = block_size - sizeof(struct tpacket_block_desc) - 16 /* private */;
	send_frame(s, 'a', 4000);
	int rest = room - ((before + 4000 + 7) & ~7) - before;
	send_frame(s, 'b', rest - 8);
	EQUAL(head(map, 0)->block_status, TP_STATUS_KERNEL);
	send_frame(s, 'c', 4000);
	EQUAL(head(map, 0)->num_pkts, 2);
	send_frame(s, 'd', rest);
	EQUAL(head(map, 1)->num_pkts, 1);
}

/* What is reserved before a frame may leave no room for it in a block. */
TEST(no_room_for_bytes) {
	own_network_up();
	int r = packet_socket(), s = packet_socket();
	int reserve = block_size - sizeof(struct tpacket_block_desc) - 16 /* private */ - TPACKET3_HDRLEN;
	OK(setsockopt(r, SOL_PACKET, PACKET_RESERVE, &reserve, sizeof reserve));
	int v = TPACKET_V3;
	OK(setsockopt(r, SOL_PACKET, PACKET_VERSION, &v, sizeof v));
	struct tpacket_req3 q = { .tp_block_size = block_size, .tp_block_nr = blocks, .tp_frame_size = block_size, .tp_frame_nr = blocks,
		.tp_retire_blk_tov = 10, .tp_sizeof_priv = private };
	OK(setsockopt(r, SOL_PACKET, PACKET_RX_RING, &q, sizeof q));
	char *map = mmap(NULL, block_size * blocks, PROT_READ | PROT_WRITE, MAP_SHARED, r, 0);
	CHECK(map != MAP_FAILED);
	OK(bind(r, (void *)&lo, sizeof lo));
	send_frame(s, 'a', 100);
	struct pollfd p = { r, POLLIN };
	int i = 0;
	do { /* Linux hands over an empty block first, since the frame takes all of one */
		EQUAL(poll(&p, 1, 60000), 1);
		for (i = 0; i < blocks && head(map, i)->num_pkts == 0; i++)
			;
	} while (i == blocks);
	struct tpacket_hdr_v1 *b = head(map, i);
	EQUAL(b->num_pkts, 1);
	CHECK(b->blk_len <= block_size);
	struct tpacket3_hdr *h = (void *)((char *)b - offsetof(struct tpacket_block_desc, hdr) + b->offset_to_first_pkt);
	EQUAL(h->tp_snaplen, 0);
	EQUAL(h->tp_len, ETH_HLEN + 100);
	EQUAL(h->tp_mac, block_size - b->offset_to_first_pkt);
}
