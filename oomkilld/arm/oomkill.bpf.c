// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * One kill_record in the ring per process that the kernel's OOM killer kills.
 *
 * All hooks on the OOM killer run in the context of the task whose allocation failed (the trigger), under the
 * kernel's oom_lock: decisions never overlap, so one slot holds the current one. The task may sleep and change
 * CPU between the hooks, so the slot is matched by pid_tgid, never kept per CPU.
 *
 *   oom_kill_process        a decision: why. It may end without a kill.
 *     __oom_kill_process    an attempt on one process. It may find no memory left and give up.
 *       mark_oom_victim     the kill, if an attempt of the same task came before: who.
 *   oom_kill_process returns: the decision is closed.
 *
 * mark_oom_victim without an attempt marks a task that is exiting anyway: not a kill. A group kill hits
 * the chosen process twice, once as the victim and once as a member, and a member whose first thread is gone
 * already once more by another thread: every hit but a process's first is counted as a repeat.
 * A process that shares the victim's memory (CLONE_VM without CLONE_THREAD) is killed by the kernel
 * without any of these calls and without being counted.
 *
 * The levels kprobe and fentry hook these functions. The level tracepoint has only what mark_oom_victim and the
 * sending of signals tell, see the end of this file: who, but not why.
 *
 * Kernel structures are read with FETCH only, whose offsets come from this kernel's BTF (kernel.h). Of a
 * member that this kernel lacks nothing is read, and its fact bit stays unset.
 */
#include <uapi/linux/ptrace.h>
#include <oomkilld/kernel.h>
#include <oomkilld/record.h>

/* bcc puts an older helper in their place where it finds no address of them, see arm/syslog.py. */
#undef bpf_probe_read_kernel
#undef bpf_probe_read_kernel_str

BPF_F_TABLE("array", int, u64, counters, COUNTER_SLOTS, BPF_F_MMAPABLE);
BPF_RINGBUF_OUTPUT(kills, RING_PAGES);

static __always_inline void count(int slot)
{
	u64 *counter = counters.lookup(&slot);

	if (counter)
		__sync_fetch_and_add(counter, 1);
}

/* Read a member into a fact of the record; the fact stays unknown when the kernel has no such member. */
#define TAKE(record, fact, base, type, member)                                      \
	do {                                                                        \
		if (FETCH(&(record)->fact, sizeof((record)->fact), base, type, member) == 0) \
			(record)->present |= FACT_##fact;                           \
	} while (0)

static __always_inline void fill_trigger(struct kill_record *record)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();

	record->trigger_pid = pid_tgid >> 32;
	record->trigger_tid = (u32)pid_tgid;
	record->trigger_uid = (u32)bpf_get_current_uid_gid();
	record->present |= FACT_trigger_uid;
	if (bpf_get_current_comm(record->trigger_comm, sizeof(record->trigger_comm)) == 0)
		record->present |= FACT_trigger_comm;
}

#if HAVE_percpu_rss && defined(PER_CPU_OFFSET)
/*
 * Since Linux 6.2 ("mm: convert mm's rss stats into percpu_counter", f1a7941243c1) each CPU holds a part of
 * the count; only their sum is exact.
 */
static __always_inline int fetch_pages(s64 *pages, void *mm, u32 kind)
{
	void *counter = MEMBER(mm, mm_struct, rss_stat) + kind * SIZE_percpu_counter;
	void *parts = NULL;
	long failed = 0;
	s64 sum = 0;

	if (FETCH(&sum, sizeof(sum), counter, percpu_counter, count) ||
	    FETCH(&parts, sizeof(parts), counter, percpu_counter, counters))
		return -1;
	for (u32 cpu = 0; cpu < POSSIBLE_CPUS; cpu++) {
		u64 offset = 0;
		s32 part = 0;

		/* No branch here: the verifier follows every one of them, for each CPU. */
		failed |= bpf_probe_read_kernel(&offset, sizeof(offset), (void *)(PER_CPU_OFFSET + cpu * 8ULL));
		failed |= bpf_probe_read_kernel(&part, sizeof(part), parts + offset);
		sum += part;
	}
	*pages = sum;
	return failed ? -1 : 0;
}
#elif HAVE_mm_rss_stat_count
static __always_inline int fetch_pages(s64 *pages, void *mm, u32 kind)
{
	void *counts = MEMBER(MEMBER(mm, mm_struct, rss_stat), mm_rss_stat, count);

	return bpf_probe_read_kernel(pages, sizeof(*pages), counts + kind * sizeof(*pages));
}
#else
static __always_inline int fetch_pages(s64 *pages, void *mm, u32 kind)
{
	return -1;
}
#endif

#define TAKE_PAGES(record, fact, mm, kind)                       \
	do {                                                     \
		if (fetch_pages(&(record)->fact, mm, kind) == 0) \
			(record)->present |= FACT_##fact;        \
	} while (0)

/* task: the thread that the kernel's own "Killed process" line names; its mm is there. */
static __always_inline void fill_victim(struct kill_record *record, void *task)
{
	void *cred = NULL, *leader = NULL, *mm = NULL, *signal = NULL;

	FETCH(&record->victim_tid, sizeof(u32), task, task_struct, pid);
	FETCH(&record->victim_pid, sizeof(u32), task, task_struct, tgid);
	TAKE(record, victim_comm, task, task_struct, comm);
	if (FETCH(&cred, sizeof(cred), task, task_struct, real_cred) == 0)
		TAKE(record, victim_uid, cred, cred, uid);
	if (FETCH(&leader, sizeof(leader), task, task_struct, group_leader) == 0)
		TAKE(record, victim_start_boottime_ns, leader, task_struct, start_boottime);
	if (FETCH(&signal, sizeof(signal), task, task_struct, signal) == 0)
		TAKE(record, victim_oom_score_adj, signal, signal_struct, oom_score_adj);
	if (FETCH(&mm, sizeof(mm), task, task_struct, mm) || !mm)
		return;
	TAKE(record, victim_total_vm_pages, mm, mm_struct, total_vm);
	TAKE(record, victim_pgtables_bytes, mm, mm_struct, pgtables_bytes);
	TAKE_PAGES(record, victim_anon_pages, mm, MM_ANONPAGES);
	TAKE_PAGES(record, victim_file_pages, mm, MM_FILEPAGES);
	TAKE_PAGES(record, victim_shmem_pages, mm, MM_SHMEMPAGES);
	TAKE_PAGES(record, victim_swap_pages, mm, MM_SWAPENTS);
}

/* A process, not only its number, which the kernel gives again. */
struct process {
	u64 start_boottime_ns;
	u64 pid;
};

static __always_inline struct process process_of(void *task)
{
	struct process process = {};
	u32 pid = 0;
	void *leader = NULL;

	FETCH(&pid, sizeof(pid), task, task_struct, tgid);
	process.pid = pid;
	if (FETCH(&leader, sizeof(leader), task, task_struct, group_leader) == 0)
		FETCH(&process.start_boottime_ns, sizeof(u64), leader, task_struct, start_boottime);
	return process;
}

static __always_inline int same_process(struct process *a, struct process *b)
{
	return a->pid == b->pid && a->start_boottime_ns == b->start_boottime_ns;
}

/*
 * What was marked of late -> what killed it: the time of the decision, or at level tracepoint pid_tgid of the
 * task; there 0: nothing, it was spared.
 */
BPF_TABLE("lru_hash", struct process, u64, marked, 8192);

/* why: what is known of the decision; NULL where nothing is. */
static __always_inline void record_victim(void *task, struct kill_record *why, int spared)
{
	struct kill_record *record = kills.ringbuf_reserve(sizeof(*record));

	if (!record) {
		count(spared ? COUNT_lost_spared : COUNT_lost);
		return;
	}
	if (why) {
		__builtin_memcpy(record, why, sizeof(*record));
	} else {
		__builtin_memset(record, 0, sizeof(*record));
		fill_trigger(record);
	}
	record->layout = LAYOUT_ID;
	record->spared = spared;
	record->kill_boottime_ns = bpf_ktime_get_boot_ns();
	fill_victim(record, task);
	/* The reader lags behind on purpose (it keeps what is not yet stored), and the kernel would wake it
	 * only if it had caught up: so always wake it. */
	kills.ringbuf_submit(record, BPF_RB_FORCE_WAKEUP);
}

#if defined(LEVEL_kprobe) || defined(LEVEL_fentry)

struct decision {
	u64 owner; /* pid_tgid of the task that decides; 0: no decision is open */
	u64 kills;
	struct kill_record why; /* what every record of this decision starts from */
};

BPF_ARRAY(decisions, struct decision, 1);
BPF_ARRAY(attempts, u64, 1); /* pid_tgid of the task inside __oom_kill_process, before its mark */

/* Forget an attempt that ended without a kill, lest a later mark of the same task seem to be one. */
static __always_inline void forget_attempt(u64 owner)
{
	int slot = 0;
	u64 *attempt = attempts.lookup(&slot);

	if (attempt && *attempt == owner)
		*attempt = 0;
}

/* Whether the decision has hit this process before. */
static __always_inline int killed_before(struct decision *decision, void *task)
{
	struct process process = process_of(task);
	u64 now = decision->why.decision_boottime_ns;
	u64 *before = marked.lookup(&process);

	decision->kills++;
	if (before && *before == now)
		return 1;
	marked.update(&process, &now);
	return 0;
}

/* oom_kill_process(struct oom_control *oc, const char *message): the decision, and why. */
static __always_inline int decide(void *oc, const char *message)
{
	int slot = 0;
	struct decision *decision = decisions.lookup(&slot);
	struct kill_record *why;
	void *chosen = NULL;

	if (!decision)
		return 0;
	count(COUNT_decisions);
	__builtin_memset(decision, 0, sizeof(*decision));
	decision->owner = bpf_get_current_pid_tgid();
	forget_attempt(decision->owner);
	why = &decision->why;
	why->decision_boottime_ns = bpf_ktime_get_boot_ns();
	why->present |= FACT_decision_boottime_ns;
	fill_trigger(why);
	TAKE(why, total_pages, oc, oom_control, totalpages);
	TAKE(why, constraint, oc, oom_control, constraint);
	TAKE(why, order, oc, oom_control, order);
	TAKE(why, gfp_mask, oc, oom_control, gfp_mask);
	TAKE(why, chosen_points, oc, oom_control, chosen_points);
	if (FETCH(&chosen, sizeof(chosen), oc, oom_control, chosen) == 0)
		TAKE(why, chosen_pid, chosen, task_struct, tgid);
	if (bpf_probe_read_kernel_str(why->reason, sizeof(why->reason), message) > 0)
		why->present |= FACT_reason;
	return 0;
}

/* oom_kill_process returns: no further kill belongs to this decision. */
static __always_inline int close_decision(void)
{
	int slot = 0;
	u64 owner = bpf_get_current_pid_tgid();
	struct decision *decision = decisions.lookup(&slot);

	forget_attempt(owner);
	if (!decision || decision->owner != owner)
		return 0;
	if (!decision->kills)
		count(COUNT_spared);
	decision->owner = 0;
	return 0;
}

/* __oom_kill_process(struct task_struct *victim, const char *message): a kill may follow. */
static __always_inline int attempt_kill(void)
{
	int slot = 0;
	u64 owner = bpf_get_current_pid_tgid();

	count(COUNT_attempts);
	attempts.update(&slot, &owner);
	return 0;
}

/* mark_oom_victim(struct task_struct *task): the kill, when it ends an attempt. */
static __always_inline int mark(void *task)
{
	int slot = 0;
	u64 owner = bpf_get_current_pid_tgid();
	u64 *attempt = attempts.lookup(&slot);
	struct decision *decision = decisions.lookup(&slot);

	if (!attempt || !decision || *attempt != owner)
		return 0;
	*attempt = 0;
	count(COUNT_kills);
	if (decision->owner == owner && killed_before(decision, task)) {
		count(COUNT_repeats);
		return 0;
	}
	/* Not the owner's: the decision's own probe was missed, and the kill is recorded without its why. */
	record_victim(task, decision->owner == owner ? &decision->why : NULL, 0);
	return 0;
}

#endif

#ifdef LEVEL_kprobe

int on_decision(struct pt_regs *ctx)
{
	return decide((void *)PT_REGS_PARM1(ctx), (const char *)PT_REGS_PARM2(ctx));
}

int on_decision_closed(struct pt_regs *ctx)
{
	return close_decision();
}

int on_attempt(struct pt_regs *ctx)
{
	return attempt_kill();
}

int on_mark(struct pt_regs *ctx)
{
	return mark((void *)PT_REGS_PARM1(ctx));
}

#endif

#ifdef LEVEL_fentry

KFUNC_PROBE(oom_kill_process, void *oc, const char *message)
{
	return decide(oc, message);
}

KRETFUNC_PROBE(oom_kill_process)
{
	return close_decision();
}

KFUNC_PROBE(__oom_kill_process)
{
	return attempt_kill();
}

KFUNC_PROBE(mark_oom_victim, void *task)
{
	return mark(task);
}

#endif

#ifdef LEVEL_tracepoint
/*
 * oom:mark_victim fires once per marked thread: also for threads of a process that is exiting anyway, and on
 * newer kernels for further threads of a process killed before. What tells a kill is the signal: inside
 * __oom_kill_process, SIGKILL is sent right before the mark, by the same task, which holds the victim's
 * task_lock meanwhile and so stays on its CPU. A further such signal by the same task to a process that it has
 * killed is a further hit of a group kill, which may make no mark; not so when the process has no memory any more
 * (a PID namespace that ends signals its dead, too), nor right after the kill of another process that shares its
 * memory (the kernel signals all that share it).
 *
 * Not seen: a kill of a process that was marked, as spared, in an earlier decision and has not ended since.
 */
#define SIGKILL 9
#define SEND_SIG_PRIV 1 /* include/linux/sched/signal.h: sent by the kernel itself */

struct signal {
	u64 owner; /* pid_tgid of the sender; 0: none is waited for */
	void *task;
	struct process target;
};

struct last_kill {
	u64 killer;
	struct process process;
	void *mm;
};

BPF_PERCPU_ARRAY(signals, struct signal, 1);
BPF_ARRAY(last_kills, struct last_kill, 1); /* kills never overlap: one slot */

static __always_inline void *mm_of(void *task)
{
	void *mm = NULL;

	FETCH(&mm, sizeof(mm), task, task_struct, mm);
	return mm;
}

/* Whether this signal to a process that its sender has killed before is a further hit of a group kill. */
static __always_inline int hits_again(struct signal *signal)
{
	int slot = 0;
	struct last_kill *last = last_kills.lookup(&slot);
	void *mm = mm_of(signal->task);

	if (!last || !mm)
		return 0;
	/* A sharer of what was killed just now; the chosen process itself may be both the last kill and the target. */
	return !(last->killer == signal->owner && last->mm == mm && !same_process(&last->process, &signal->target));
}

/* signal:signal_generate(int sig, struct kernel_siginfo *info, struct task_struct *task, …) */
int on_signal(struct bpf_raw_tracepoint_args *ctx)
{
	int slot = 0;
	struct signal *signal;
	u64 *killer;

	if ((u32)ctx->args[0] != SIGKILL || ctx->args[1] != SEND_SIG_PRIV)
		return 0;
	signal = signals.lookup(&slot);
	if (!signal)
		return 0;
	signal->owner = bpf_get_current_pid_tgid();
	signal->task = (void *)ctx->args[2];
	signal->target = process_of(signal->task);
	killer = marked.lookup(&signal->target);
	if (killer && *killer == signal->owner) {
		if (hits_again(signal)) {
			count(COUNT_kills);
			count(COUNT_repeats);
		}
		signal->owner = 0;
	}
	return 0;
}

/* The thread that the tracepoint is about; NULL where an older kernel gives a number that leads nowhere. */
static __always_inline void *marked_task(u64 argument, struct signal *signal)
{
#ifdef MARK_GIVES_TASK
	return (void *)argument;
#else
	u32 tid = 0;

	if (signal->owner == bpf_get_current_pid_tgid()) {
		FETCH(&tid, sizeof(tid), signal->task, task_struct, pid);
		if (tid == (u32)argument)
			return signal->task;
	}
	/* Spared: most often the very task that asked for memory. */
	return (u32)bpf_get_current_pid_tgid() == (u32)argument ? (void *)bpf_get_current_task() : NULL;
#endif
}

/* oom:mark_victim(struct task_struct *task, …); before Linux 6.9 and its like in stable trees: (int pid). */
int on_victim_marked(struct bpf_raw_tracepoint_args *ctx)
{
	int slot = 0;
	struct signal *signal = signals.lookup(&slot);
	struct process process;
	struct last_kill *last = last_kills.lookup(&slot);
	u64 owner = bpf_get_current_pid_tgid(), killer = 0;
	u64 *known;
	void *task;

	if (!signal || !last)
		return 0;
	task = marked_task(ctx->args[0], signal);
	if (!task) {
		count(COUNT_spared);
		return 0;
	}
	process = process_of(task);
	if (signal->owner == owner && same_process(&signal->target, &process)) {
		signal->owner = 0;
		killer = owner;
	}
	known = marked.lookup(&process);
	if (known && (*known || !killer))
		return 0; /* a further thread of it */
	marked.update(&process, &killer);
	if (killer) {
		last->killer = owner;
		last->process = process;
		last->mm = mm_of(task);
	}
	count(killer ? COUNT_kills : COUNT_spared);
	record_victim(task, NULL, !killer);
	return 0;
}

#endif
