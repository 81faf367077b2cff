// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Writes one kill_record into the ring for each process that the kernel's OOM killer kills.
 *
 * All hooks on the OOM killer run in the context of the task whose allocation failed (the trigger), under the
 * kernel's oom_lock. So decisions never overlap, and one slot holds the current one. The task may sleep and change
 * CPU between the hooks, so the slot is matched by pid_tgid, not kept per CPU.
 *
 *   out_of_memory           a domain ran out of memory; the kernel searches for a process to kill.
 *     oom_badness           a candidate. Whoever reads /proc/PID/oom_score calls it, too.
 *   oom_kill_process        a decision: the cause. It may end without a kill.
 *     mem_cgroup_print_oom_meminfo returns: the kernel has summed up for its log what fills the cgroup. The kernel
 *                           skips this call if it logs too much already.
 *     __oom_kill_process    an attempt to kill one process.
 *       mark_oom_victim     the kill, if the same task made an attempt before: the victim.
 *     __oom_kill_process returns. If it found that the process had no memory left and gave up, it was spared.
 *   oom_kill_process returns: the decision is closed.
 *   mem_cgroup_print_oom_meminfo returns, no decision is open, and nothing was chosen: nothing can be killed.
 *   exit_oom_victim         later, in the context of the victim's marked thread: it has released its memory.
 *
 * mark_oom_victim without an attempt marks a task that is exiting already: spared, not killed. A group kill hits the
 * chosen process twice, once as the victim and once as a member. It hits a member whose first thread is gone once
 * more, by another thread. Every hit of a process after the first counts as a repeat. The kernel kills a process that
 * shares the victim's memory (CLONE_VM without CLONE_THREAD) without any of these calls, and does not count it.
 *
 * The levels kprobe and fentry hook these functions. The level tracepoint sees only mark_oom_victim and the sending
 * of signals, see the end of this file: it knows the victim, but not the cause.
 *
 * Kernel structures are read only with FETCH, whose offsets come from this kernel's BTF (kernel.h). A member that
 * this kernel lacks is not read, and its fact bit stays unset.
 */
/* bcc replaces these by an older helper if it finds no address of them, see arm/kallsyms.py. */
#undef bpf_probe_read_kernel
#undef bpf_probe_read_kernel_str
#undef bpf_probe_read_user

#include <uapi/linux/ptrace.h>
#include <oomkilld/kernel.h>
#include <oomkilld/record.h>
#include <oomkilld/draft.h>
#include <oomkilld/task.h>
#include <oomkilld/domain.h>
#include <oomkilld/candidates.h>

BPF_F_TABLE("array", int, u64, counters, COUNTER_SLOTS, BPF_F_MMAPABLE);
BPF_RINGBUF_OUTPUT(kills, RING_PAGES);

/* bcc has no method to query how full the ring is: turn the one for reserving, which nobody uses, into a query. */
#define bpf_ringbuf_reserve(ring, what, no_flags) bpf_ringbuf_query(ring, what)

/*
 * Whether the ring is half full. The reader frees a record only when its entry is stored, so the ring holds the
 * records of the last seconds.
 */
static __always_inline int crowded(void)
{
	return (u64)kills.ringbuf_reserve(BPF_RB_AVAIL_DATA) > RING_PAGES * PAGE_SIZE / 2;
}

static __always_inline void count(int slot)
{
	u64 *counter = counters.lookup(&slot);

	if (counter)
		__sync_fetch_and_add(counter, 1);
}

BPF_ARRAY(drafts, struct draft, 1);

/*
 * A process that was marked recently -> the time of the decision; at level tracepoint, the pid_tgid of the task that
 * killed it, or 0 if it was spared.
 */
BPF_TABLE("lru_hash", struct process, u64, marked, 8192);

/* A flag in such a value: the ring had no room for the record, so a repeat counts as lost, too. */
#define LOST (1ULL << 63)

/* Start a draft with the facts about the running task and the machine. */
static __always_inline void begin(struct draft *draft)
{
	__builtin_memset(&draft->record, 0, sizeof(draft->record));
	draft->owner = 0;
	draft->why_length = 0;
	draft->memcg = NULL;
	__builtin_memset(&draft->domain, 0, sizeof(draft->domain));
	draft->crowded = crowded();
	draft->record.layout = LAYOUT_ID;
	fill_trigger(&draft->record);
	TAKE_MACHINE_COUNTS(draft);
}

/*
 * Send the record, and return whether there was room for it. length: of the text after the record. The command line of
 * the trigger, which is the running task, comes last, if the settings want it and there is enough room.
 */
static __always_inline int output(struct draft *draft, u64 length, int spared)
{
	if (!draft->crowded)
		length += append_cmdline(draft, length);
	barrier_var(length);
	draft->record.spared = spared;
	draft->record.kill_boottime_ns = bpf_ktime_get_boot_ns();
	/* The reader lags behind on purpose, as it keeps records until they are stored. The kernel would wake it
	 * only if it had caught up, so always wake it. */
	if (!kills.ringbuf_output(&draft->record, sizeof(draft->record) + (length & TEXT_MASK), BPF_RB_FORCE_WAKEUP))
		return 1;
	count(spared ? COUNT_lost_spared : COUNT_lost);
	return 0;
}

static __always_inline int record_victim(struct draft *draft, void *task, int spared)
{
	u64 length;

	draft->crowded = crowded();
	length = fill_victim(draft, task);
	return output(draft, length + fill_memory(draft, task, length), spared);
}

/*
 * Record that a victim has released its memory, unless another of its threads, which may hang, still holds it. This
 * does not wake the reader: it finds the record with the next kill, or at its next deadline.
 */
static __always_inline void record_release(void *task)
{
	void *signal = NULL, *memory = NULL;
	s32 users = 0;

	FETCH(&signal, sizeof(signal), task, task_struct, signal);
	if (FETCH(&memory, sizeof(memory), signal, signal_struct, oom_mm) || !memory ||
	    FETCH(&users, sizeof(users), memory, mm_struct, mm_users) || users)
		return;
	struct process process = process_of(task);
	struct release_record record = {
		.boottime_ns = bpf_ktime_get_boot_ns(),
		.start_boottime_ns = process.start_boottime_ns,
		.layout = LAYOUT_ID,
		.pid = process.pid,
	};

	FETCH(&record.tid, sizeof(record.tid), task, task_struct, pid);
	kills.ringbuf_output(&record, sizeof(record), BPF_RB_NO_WAKEUP);
}

#if defined(LEVEL_kprobe) || defined(LEVEL_fentry)

/* A task that is inside __oom_kill_process, before its mark. */
struct attempt {
	u64 owner; /* pid_tgid of the task that attempts; 0: none is open */
	void *task;
	struct process process;
	u32 tid;
};

BPF_ARRAY(attempts, struct attempt, 1);

static __always_inline void fill_decision(struct kill_record *record, void *oc)
{
	TAKE(record, total_pages, oc, oom_control, totalpages);
	TAKE(record, constraint, oc, oom_control, constraint);
	TAKE(record, order, oc, oom_control, order);
	TAKE(record, gfp_mask, oc, oom_control, gfp_mask);
}

BPF_ARRAY(searches, struct search, 1);

/* oom_kill_process(struct oom_control *oc, const char *message): the decision, and its cause. */
static __always_inline int decide(void *oc, const char *message)
{
	int slot = 0;
	struct draft *draft = drafts.lookup(&slot);
	struct attempt *attempt = attempts.lookup(&slot);
	struct search *search = searches.lookup(&slot);
	struct kill_record *record;
	void *chosen = NULL;

	if (!draft || !attempt || !search)
		return 0;
	count(COUNT_decisions);
	attempt->owner = 0;
	begin(draft);
	draft->owner = bpf_get_current_pid_tgid();
	record = &draft->record;
	record->decision_boottime_ns = bpf_ktime_get_boot_ns();
	record->present |= FACT_decision_boottime_ns;
	fill_decision(record, oc);
	TAKE(record, chosen_points, oc, oom_control, chosen_points);
	if (FETCH(&chosen, sizeof(chosen), oc, oom_control, chosen) == 0)
		TAKE(record, chosen_pid, chosen, task_struct, tgid);
	if (bpf_probe_read_kernel_str(record->reason, sizeof(record->reason), message) > 0)
		record->present |= FACT_reason;
	fill_domain(draft, oc, chosen);
	if (search->owner == draft->owner && search->oc == oc)
		fill_candidates(draft, search);
	if (record->group_kill || !(record->present & FACT_group_kill) || !trigger_is_victim(draft, chosen))
		fill_other_trigger(draft);
	return 0;
}

/* A cgroup where nothing can be killed. The kernel may search it again and again. */
struct stubborn {
	u64 told_boottime_ns;
	u64 times; /* searches since then */
};

BPF_TABLE("lru_hash", u64, struct stubborn, stubborn_cgroups, 1024);

#define TELL_AGAIN_NS 1000000000ULL

/* out_of_memory(struct oom_control *oc) */
static __always_inline int search(void *oc)
{
	int slot = 0;
	struct search *search = searches.lookup(&slot);

	if (search) {
		__builtin_memset(search, 0, sizeof(*search));
		search->owner = bpf_get_current_pid_tgid();
		search->oc = oc;
	}
	return 0;
}

/* oom_badness(struct task_struct *task, unsigned long totalpages) */
static __always_inline int consider(void *task)
{
	int slot = 0;
	struct search *search = searches.lookup(&slot);

	if (search && search->owner == bpf_get_current_pid_tgid())
		add_candidate(search, task);
	return 0;
}

/* Nothing can be killed: write at most one record a second for each cgroup, and none if the ring is half full. */
static __always_inline void record_nothing_killed(struct draft *draft, struct search *search, u64 memcg)
{
	struct stubborn *before = stubborn_cgroups.lookup(&memcg);
	u64 now = bpf_ktime_get_boot_ns();
	struct stubborn told = {.told_boottime_ns = now};

	if (crowded() || (before && now - before->told_boottime_ns < TELL_AGAIN_NS)) {
		if (before)
			before->times++;
		return;
	}
	begin(draft);
	draft->record.victim_tid = 1 + (before ? before->times : 0);
	draft->record.decision_boottime_ns = now;
	draft->record.present |= FACT_decision_boottime_ns;
	fill_decision(&draft->record, search->oc);
	fill_domain(draft, search->oc, NULL);
	fill_candidates(draft, search);
	TAKE_DOMAIN_COUNTS(draft);
	fill_other_trigger(draft);
	stubborn_cgroups.update(&memcg, &told);
	output(draft, draft->why_length, NOTHING_KILLED);
}

/* mem_cgroup_print_oom_meminfo returns: the kernel has just updated the cgroup's counts, which may else be 2 s old. */
static __always_inline int logged(void)
{
	int slot = 0;
	u64 owner = bpf_get_current_pid_tgid();
	struct draft *draft = drafts.lookup(&slot);
	struct search *search = searches.lookup(&slot);
	void *chosen = NULL, *memcg = NULL;

	if (!draft || !search)
		return 0;
	if (draft->owner == owner)
		TAKE_DOMAIN_COUNTS(draft);
	else if (search->owner == owner && FETCH(&chosen, sizeof(chosen), search->oc, oom_control, chosen) == 0 && !chosen &&
		 FETCH(&memcg, sizeof(memcg), search->oc, oom_control, memcg) == 0 && memcg)
		record_nothing_killed(draft, search, (u64)memcg);
	return 0;
}

/* oom_kill_process returns: no further kill belongs to this decision. */
static __always_inline int close_decision(void)
{
	int slot = 0;
	u64 owner = bpf_get_current_pid_tgid();
	struct draft *draft = drafts.lookup(&slot);

	if (draft && draft->owner == owner)
		draft->owner = 0;
	return 0;
}

/* __oom_kill_process(struct task_struct *victim, const char *message): a kill may follow. */
static __always_inline int attempt_kill(void *task)
{
	int slot = 0;
	struct attempt *attempt = attempts.lookup(&slot);

	if (!attempt)
		return 0;
	count(COUNT_attempts);
	attempt->owner = bpf_get_current_pid_tgid();
	attempt->task = task;
	attempt->process = process_of(task);
	FETCH(&attempt->tid, sizeof(attempt->tid), task, task_struct, pid);
	return 0;
}

/*
 * Whether the facts read until now are those of the attempt's task. The kernel has released its reference to the task,
 * which may have been the last one. A task that is freed never comes back as the same process.
 */
static __always_inline int still_there(struct attempt *attempt)
{
	struct process process = process_of(attempt->task);
	s32 holders = 0;

	return same_process(&process, &attempt->process) &&
	       FETCH(&holders, sizeof(holders), attempt->task, task_struct, usage) == 0 && holders > 0;
}

/* Keep only the identity of a process that has ended meanwhile. Returns the length of the text after the record. */
static __always_inline u64 leave_identity(struct draft *draft, struct attempt *attempt)
{
	struct kill_record *record = &draft->record;

	record->present &= ~FACTS_OF_VICTIM;
	record->victim_pid = attempt->process.pid;
	record->victim_tid = attempt->tid;
	record->victim_start_boottime_ns = attempt->process.start_boottime_ns;
	record->present |= FACT_victim_start_boottime_ns;
	record->victim_cgroup_length = 0;
	correct_trigger(draft, attempt->task);
	return draft->why_length;
}

/* __oom_kill_process returns. If it made no kill, the process had no memory left and is spared. */
static __always_inline int close_attempt(void)
{
	int slot = 0;
	u64 owner = bpf_get_current_pid_tgid();
	struct draft *draft = drafts.lookup(&slot);
	struct attempt *attempt = attempts.lookup(&slot);
	u64 length;

	if (!draft || !attempt || attempt->owner != owner)
		return 0;
	attempt->owner = 0;
	/* No decision was seen, so a mark may be missed, too: the hooks are just being attached. */
	if (draft->owner != owner || marked.lookup(&attempt->process))
		return 0;
	marked.update(&attempt->process, &draft->record.decision_boottime_ns);
	count(COUNT_spared);
	draft->crowded = crowded();
	length = fill_victim(draft, attempt->task);
	output(draft, still_there(attempt) ? length : leave_identity(draft, attempt), 1);
	return 0;
}

/* mark_oom_victim(struct task_struct *task): the kill, when it ends an attempt. */
static __always_inline int mark(void *task)
{
	int slot = 0, spared;
	u64 owner = bpf_get_current_pid_tgid(), now;
	struct attempt *attempt = attempts.lookup(&slot);
	struct draft *draft = drafts.lookup(&slot);
	struct process process = process_of(task);
	u64 *before = marked.lookup(&process);

	if (!attempt || !draft)
		return 0;
	spared = attempt->owner != owner;
	attempt->owner = 0;
	/* Count a spared process once, and no further thread of a killed one. */
	if (spared && before)
		return 0;
	/* If the decision's own probe was missed, or there is no decision, the cause is unknown. */
	if (draft->owner != owner) {
		begin(draft);
		trigger_is_victim(draft, task);
	}
	now = draft->record.decision_boottime_ns;
	if (spared) {
		count(COUNT_spared);
	} else {
		count(COUNT_kills);
		if (before && (*before & ~LOST) == now && draft->owner == owner) {
			count(*before & LOST ? COUNT_lost : COUNT_repeats);
			return 0;
		}
	}
	marked.update(&process, &now);
	if (!record_victim(draft, task, spared)) {
		now |= LOST;
		marked.update(&process, &now);
	}
	return 0;
}

/* exit_oom_victim(void): in the context of the victim's thread that was marked. */
static __always_inline int release(void)
{
	record_release((void *)bpf_get_current_task());
	return 0;
}

#endif

#ifdef LEVEL_kprobe

int on_decision(struct pt_regs *ctx)
{
	return decide((void *)PT_REGS_PARM1(ctx), (const char *)PT_REGS_PARM2(ctx));
}

int on_search(struct pt_regs *ctx)
{
	return search((void *)PT_REGS_PARM1(ctx));
}

int on_candidate(struct pt_regs *ctx)
{
	return consider((void *)PT_REGS_PARM1(ctx));
}

int on_logged(struct pt_regs *ctx)
{
	return logged();
}

int on_decision_closed(struct pt_regs *ctx)
{
	return close_decision();
}

int on_attempt(struct pt_regs *ctx)
{
	return attempt_kill((void *)PT_REGS_PARM1(ctx));
}

int on_attempt_closed(struct pt_regs *ctx)
{
	return close_attempt();
}

int on_mark(struct pt_regs *ctx)
{
	return mark((void *)PT_REGS_PARM1(ctx));
}

int on_release(struct pt_regs *ctx)
{
	return release();
}

#endif

#ifdef LEVEL_fentry

KFUNC_PROBE(oom_kill_process, void *oc, const char *message)
{
	return decide(oc, message);
}

KFUNC_PROBE(out_of_memory, void *oc)
{
	return search(oc);
}

KFUNC_PROBE(oom_badness, void *task)
{
	return consider(task);
}

KRETFUNC_PROBE(mem_cgroup_print_oom_meminfo)
{
	return logged();
}

KRETFUNC_PROBE(oom_kill_process)
{
	return close_decision();
}

KFUNC_PROBE(__oom_kill_process, void *task)
{
	return attempt_kill(task);
}

KRETFUNC_PROBE(__oom_kill_process)
{
	return close_attempt();
}

KFUNC_PROBE(mark_oom_victim, void *task)
{
	return mark(task);
}

KFUNC_PROBE(exit_oom_victim)
{
	return release();
}

#endif

#ifdef LEVEL_tracepoint
/*
 * oom:mark_victim fires once for each marked thread: also for threads of a process that is exiting already, and on
 * newer kernels for further threads of a process killed before. The signal identifies a kill: inside
 * __oom_kill_process, the kernel sends SIGKILL right before the mark, in the same task, which holds the victim's
 * task_lock meanwhile and so stays on its CPU. A further such signal by the same task to a process that it has
 * killed is a further hit of a group kill, which may make no mark. There are three exceptions: the process has no
 * memory any more; nobody holds its task_lock; or the task has just killed another process that shares its memory
 * (the kernel signals all that share it).
 *
 * The kernel sends that signal elsewhere, too. An ending task sends it to the processes of the PID namespace whose
 * first process it was, and to those that it traces (PTRACE_O_EXITKILL). These signals do not count: the ending task
 * does not hold the target's task_lock. A process that exceeds RLIMIT_CPU sends it to itself, without task_lock.
 *
 * Not seen: a kill of a process that an earlier decision has marked as spared and that has not ended since.
 */
#define SIGKILL 9
#define SEND_SIG_PRIV 1 /* include/linux/sched/signal.h: sent by the kernel itself */
#define PF_EXITING 0x4 /* include/linux/sched.h */

struct signal {
	u64 owner; /* pid_tgid of the sender; 0: no mark is expected */
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

/* Whether anybody holds its task_lock; true if the first word of the lock does not show that. */
static __always_inline int locked(void *task)
{
	u32 lock = 1;

#if HAVE_task_struct_alloc_lock && HAVE_spinlock_rlock
	bpf_probe_read_kernel(&lock, sizeof(lock), MEMBER(task, task_struct, alloc_lock));
#endif
	return lock != 0;
}

/*
 * Whether an ending task sends this signal, to its PID namespace or to the processes that it traces. An ending task can
 * invoke the OOM killer, too; then it holds the victim's task_lock.
 */
static __always_inline int is_of_an_end(void *target)
{
	u32 flags = 0;

	FETCH(&flags, sizeof(flags), (void *)bpf_get_current_task(), task_struct, flags);
	if (!(flags & PF_EXITING))
		return 0;
#if HAVE_task_struct_alloc_lock && HAVE_spinlock_rlock
	return !locked(target);
#else
	return 1;
#endif
}

/* Whether this signal to a process that its sender has killed already is a further hit of a group kill. */
static __always_inline int hits_again(struct signal *signal)
{
	int slot = 0;
	struct last_kill *last = last_kills.lookup(&slot);
	void *mm = mm_of(signal->task);

	if (!last || !mm || !locked(signal->task))
		return 0;
	/* No if it shares the last victim's memory. The chosen process may be both the last victim and the target. */
	return !(last->killer == signal->owner && last->mm == mm && !same_process(&last->process, &signal->target));
}

/* signal:signal_generate(int sig, struct kernel_siginfo *info, struct task_struct *task, …) */
int on_signal(struct bpf_raw_tracepoint_args *ctx)
{
	int slot = 0;
	struct signal *signal;
	u64 *killer;

	if ((u32)ctx->args[0] != SIGKILL || ctx->args[1] != SEND_SIG_PRIV || is_of_an_end((void *)ctx->args[2]))
		return 0;
	signal = signals.lookup(&slot);
	if (!signal)
		return 0;
	signal->owner = bpf_get_current_pid_tgid();
	signal->task = (void *)ctx->args[2];
	signal->target = process_of(signal->task);
	killer = marked.lookup(&signal->target);
	if (killer && (*killer & ~LOST) == signal->owner) {
		if (hits_again(signal)) {
			count(COUNT_kills);
			count(*killer & LOST ? COUNT_lost : COUNT_repeats);
		}
		signal->owner = 0;
	}
	return 0;
}

/* The marked thread. NULL if an older kernel gives only a number: the reader looks up that thread. */
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
	/* A spared thread: most often it is the running task itself. */
	return (u32)bpf_get_current_pid_tgid() == (u32)argument ? (void *)bpf_get_current_task() : NULL;
#endif
}

#ifndef MARK_GIVES_TASK
/* Record a spared thread of which only the number is known here. */
static __always_inline void record_thread(struct draft *draft, u32 tid)
{
	count(COUNT_spared);
	begin(draft);
	fill_other_trigger(draft);
	draft->record.victim_tid = tid;
	output(draft, draft->why_length, SPARED_THREAD);
}
#endif

/* oom:mark_victim(struct task_struct *task, …); before Linux 6.9 and the same change in stable trees: (int pid). */
int on_victim_marked(struct bpf_raw_tracepoint_args *ctx)
{
	int slot = 0;
	struct signal *signal = signals.lookup(&slot);
	struct process process;
	struct last_kill *last = last_kills.lookup(&slot);
	struct draft *draft = drafts.lookup(&slot);
	u64 owner = bpf_get_current_pid_tgid(), killer = 0;
	u64 *known;
	void *task;

	if (!signal || !last || !draft)
		return 0;
	task = marked_task(ctx->args[0], signal);
#ifndef MARK_GIVES_TASK
	if (!task) {
		record_thread(draft, (u32)ctx->args[0]);
		return 0;
	}
#endif
	process = process_of(task);
	if (signal->owner == owner && same_process(&signal->target, &process)) {
		signal->owner = 0;
		killer = owner;
	}
	known = marked.lookup(&process);
	if (known && (*known || !killer))
		return 0; /* a further thread of the same process */
	marked.update(&process, &killer);
	if (killer) {
		last->killer = owner;
		last->process = process;
		last->mm = mm_of(task);
	}
	count(killer ? COUNT_kills : COUNT_spared);
	begin(draft);
	if (!trigger_is_victim(draft, task))
		fill_other_trigger(draft);
	if (!record_victim(draft, task, !killer) && killer) {
		killer |= LOST;
		marked.update(&process, &killer);
	}
	return 0;
}

/*
 * sched:sched_process_exit(struct task_struct *task): for every thread that ends, after it has released its memory.
 * If it has a second argument, it fires before that (Linux 6.16, "exit: move and extend sched_process_exit()
 * tracepoint"): the memory is still in use, and nothing is recorded.
 */
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	record_release((void *)ctx->args[0]);
	return 0;
}

#endif
